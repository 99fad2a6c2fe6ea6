package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	pb "example.com/chronos-client/chronosv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

const (
	chunkBytes       = 1 << 20
	maxMessageBytes  = 16 << 20
	maxPayloadBytes  = 1 << 30
	callTime         = 10 * time.Second
	scanTime         = 60 * callTime
	slowestPerSecond = 1_000_000 // bytes
)

// A coordinator is one connection. It is made with the first call, and again after every loss.
type coordinator struct {
	connection *grpc.ClientConn
	stub       pb.CoordinatorServiceClient
	token      string
	maxPayload uint64 // atomic: the heartbeats may register anew
}

// connect prepares the connection; `tlsCA` and `tokenFile` may be empty.
func connect(address, tlsCA, tokenFile string) (*coordinator, error) {
	c := &coordinator{maxPayload: maxPayloadBytes}
	security := grpc.WithInsecure() // spelt so by the oldest grpc that this program builds with
	if tlsCA != "" {
		pem, err := os.ReadFile(tlsCA)
		roots := x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			return nil, usageError("--tls-ca " + tlsCA + " holds no certificate that can be read")
		}
		security = grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots}))
	}
	if tokenFile != "" {
		token, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, usageError("--token-file " + tokenFile + " cannot be read")
		}
		c.token = strings.TrimSpace(string(token))
	}
	connection, err := grpc.Dial(address, security,
		grpc.WithDisableRetry(), // what may be repeated, and what with, this program decides itself
		grpc.WithDefaultCallOptions(
			grpc.ForceCodec(protoCodec{}),
			grpc.MaxCallRecvMsgSize(maxMessageBytes),
			grpc.MaxCallSendMsgSize(maxMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: callTime}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: callTime, Timeout: callTime / 2, PermitWithoutStream: true}))
	if err != nil {
		return nil, err
	}
	c.connection, c.stub = connection, pb.NewCoordinatorServiceClient(connection)
	return c, nil
}

// deadline is the context of one call: its deadline, and the token.
func (c *coordinator) deadline(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx := context.Background()
	if c.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
	}
	return context.WithTimeout(ctx, limit)
}

// A checkout is an answer to CheckoutVersion, taken in as a whole.
type checkout struct {
	header  *pb.CheckoutHeader
	version uint64
	payload []byte
}

// checkout takes a version out; `wait` is how long the coordinator may let the call wait, as the request says too.
func (c *coordinator) checkout(request *pb.CheckoutVersionRequest, wait time.Duration) (*checkout, error) {
	ctx, cancel := c.deadline(wait + transferTime(maxPayloadBytes))
	defer cancel()
	// A stream that falls silent is given up long before the deadline that a large payload needs.
	silence := time.AfterFunc(wait+callTime, cancel)
	defer silence.Stop()
	stream, err := c.stub.CheckoutVersion(ctx, request)
	if err != nil {
		return nil, asCallError(err)
	}
	var found checkout
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, asCallError(err)
		}
		silence.Reset(callTime)
		if found.header == nil {
			found.header = message.GetHeader()
			if most := atomic.LoadUint64(&c.maxPayload); found.header.GetPayloadBytes() > most {
				text := fmt.Sprintf("a checkout of %d bytes; %d at most", found.header.GetPayloadBytes(), most)
				return nil, &payloadError{"PAYLOAD_TOO_LARGE", text}
			}
		}
		found.payload = append(found.payload, message.GetChunk()...)
		if uint64(len(found.payload)) > found.header.GetPayloadBytes() {
			return nil, &payloadError{"MALFORMED_PAYLOAD", "a checkout is longer than it said"}
		}
	}
	if found.header == nil || uint64(len(found.payload)) != found.header.GetPayloadBytes() || len(found.header.Versions) != 1 {
		return nil, &payloadError{"MALFORMED_PAYLOAD", "a checkout was cut"}
	}
	found.version = found.header.Versions[0].GetVersion()
	return &found, nil
}

// commit sends an update, and returns when it is durable.
func (c *coordinator) commit(header *pb.CommitHeader, payload []byte) (*pb.CommitUpdateResponse, error) {
	ctx, cancel := c.deadline(transferTime(len(payload)))
	defer cancel()
	stream, err := c.stub.CommitUpdate(ctx)
	if err != nil {
		return nil, asCallError(err)
	}
	// The first chunk rides with the header; no other one is empty.
	first := min(chunkBytes, len(payload))
	message := &pb.CommitUpdateRequest{Header: header, Chunk: payload[:first]}
	for start := first; ; start += chunkBytes {
		if err := stream.Send(message); err != nil {
			break // the server has answered already: CloseAndRecv tells what
		}
		if start >= len(payload) {
			break
		}
		message = &pb.CommitUpdateRequest{Chunk: payload[start:min(start+chunkBytes, len(payload))]}
	}
	answer, err := stream.CloseAndRecv()
	return answer, asCallError(err)
}

func transferTime(bytes int) time.Duration {
	return callTime + time.Duration(bytes)*time.Second/slowestPerSecond
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

// protoCodec serialises with google.golang.org/protobuf, which the codec of early grpc releases does not know.
type protoCodec struct{}

func (protoCodec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}

func (protoCodec) Unmarshal(data []byte, message interface{}) error {
	return proto.Unmarshal(data, message.(proto.Message))
}

func (protoCodec) Name() string { return "proto" }
