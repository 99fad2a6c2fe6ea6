package main

import (
	"errors"
	"math/rand"
	"time"
)

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
	connectTime  = 5 * time.Second // a coordinator that is away at first has probably another address
)

// A retrier repeats calls until there is a definitive answer, or nothing was heard for too long.
type retrier struct {
	patience time.Duration // how long the coordinator may stay away in the middle of a run
	report   func(format string, values ...interface{})
	heard    time.Time // when it last said something
}

// answer makes the call, and the very same one again while that may help. `passing` is a reason that the caller wants
// to see although a repetition might help.
func (r *retrier) answer(what, passing string, call func() error) error {
	began, pause := time.Now(), firstPause
	for {
		err := call()
		var failure *callError
		if err == nil || (errors.As(err, &failure) && failure.reason != "") {
			r.heard = time.Now()
		}
		if failure == nil || !failure.repeatable() || (passing != "" && failure.reason == passing) {
			return err
		}
		limit, since := r.patience, r.heard
		if r.heard.IsZero() {
			limit = connectTime
		}
		if since.Before(began) {
			since = began
		}
		if time.Since(since) > limit {
			return err
		}
		r.report("%s again: %v", what, err)
		least := failure.pause
		if least == 0 {
			least, pause = pause/2, pause*2
			if pause > longestPause {
				pause = longestPause
			}
		}
		// The server's pause is the least; jitter keeps clients that lost the same server from coming back at once.
		time.Sleep(least + time.Duration(rand.Int63n(int64(least)+1)))
	}
}
