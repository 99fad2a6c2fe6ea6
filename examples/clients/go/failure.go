package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A payloadError says which bytes cannot be accepted.
type payloadError struct{ reason, text string }

func (e *payloadError) Error() string { return e.reason + ": " + e.text }

// A usageError is something that the person who started the program has to change.
type usageError string

func (e usageError) Error() string { return string(e) }

// A callError is a call that ended with a gRPC status other than OK.
type callError struct {
	code    codes.Code
	text    string
	reason  string            // the coordinator's; empty when gRPC itself made the status
	details map[string]string // the facts, numbers as JSON
	fields  []string          // the wrong fields
	pause   time.Duration     // what the server asks for before a repetition; 0 for nothing
}

func (e *callError) Error() string {
	name := e.reason
	if name == "" {
		name = e.code.String()
	}
	if len(e.fields) > 0 {
		name += " (field " + strings.Join(e.fields, ", ") + ")"
	}
	return name + ": " + strings.Join(strings.Fields(e.text), " ")
}

// repeatable says whether the very same request may succeed later: it came at a bad moment, or got lost.
func (e *callError) repeatable() bool {
	switch e.code {
	case codes.Unavailable:
		return true
	case codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Internal, codes.Unknown:
		return e.reason == ""
	}
	return false
}

// number is a fact as a number, or `missing`.
func (e *callError) number(name string, missing float64) float64 {
	value := missing
	if json.Unmarshal([]byte(e.details[name]), &value) != nil {
		return missing
	}
	return value
}

// asCallError turns what grpc returned into a callError; nil stays nil.
func asCallError(err error) error {
	if err == nil {
		return nil
	}
	told, ok := status.FromError(err)
	if !ok {
		return err
	}
	failure := &callError{code: told.Code(), text: told.Message()}
	for _, detail := range told.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == "chronos" {
				failure.reason, failure.details = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				failure.fields = append(failure.fields, violation.GetField())
			}
		case *errdetails.RetryInfo:
			delay := detail.GetRetryDelay()
			failure.pause = time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos())
		}
	}
	return failure
}

// reasonOf is the coordinator's reason for a failed call, or empty.
func reasonOf(err error) string {
	var failure *callError
	if errors.As(err, &failure) {
		return failure.reason
	}
	return ""
}

// problem is one line for people.
func problem(err error) string {
	var failure *callError
	if errors.As(err, &failure) && failure.reason == "" {
		return fmt.Sprintf("the coordinator does not answer (%v); check that it runs and that --coordinator is right", err)
	}
	return err.Error()
}
