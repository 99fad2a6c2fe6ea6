// Command chronos-client creates a run on a Chronos coordinator, works on it and drives it to its minimum.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"net"
	"os"
	"strings"
	"time"

	pb "example.com/chronos-client/chronosv1"
)

const parameter = "u"

type options struct {
	coordinator, runID, workerID, tlsCA, tokenFile string
	dimensions                                     int
	maxVersions                                    uint64
	learningRate, tolerance, pause, patience       float64
	quiet                                          bool
}

const head = `Usage: chronos-client [options]

Creates a run on a Chronos coordinator, works on it and drives a quadratic to its minimum.

`

const tail = `
Exit status: 0 the minimum was reached and the journal verified, 1 it was not, 2 wrong usage.
`

// readOptions returns flag.ErrHelp after it has printed the help.
func readOptions(arguments []string) (*options, error) {
	host, _ := os.Hostname()
	short := strings.SplitN(host, ".", 2)[0]
	rand.Seed(time.Now().UnixNano())
	o := &options{}
	flags := flag.NewFlagSet("chronos-client", flag.ContinueOnError)
	flags.SetOutput(&strings.Builder{})
	flags.StringVar(&o.coordinator, "coordinator", "127.0.0.1:50551", "`HOST:PORT` of the coordinator")
	flags.StringVar(&o.runID, "run-id", fmt.Sprintf("quadratic-go-%08x", rand.Uint32()), "name of the run")
	flags.StringVar(&o.workerID, "worker-id", "go-"+short, "stable name of this worker")
	flags.IntVar(&o.dimensions, "dimensions", 8, "outer parameters, 1 or more")
	flags.Float64Var(&o.learningRate, "learning-rate", 1.2, "of plain gradient descent")
	flags.Uint64Var(&o.maxVersions, "max-versions", 200, "the run ends at this version")
	flags.Float64Var(&o.tolerance, "tolerance", 1e-6, "largest distance from the minimum")
	flags.Float64Var(&o.pause, "pause-seconds", 0, "work that much longer on each version")
	flags.Float64Var(&o.patience, "patience-seconds", 60, "how long the coordinator may be away in the middle of the run")
	flags.StringVar(&o.tlsCA, "tls-ca", "", "encrypt, and trust the certificate authority in this `FILE`")
	flags.StringVar(&o.tokenFile, "token-file", "", "`FILE` with the bearer token")
	flags.BoolVar(&o.quiet, "quiet", false, "print only the outcome")
	err := flags.Parse(arguments)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(head)
		flags.SetOutput(os.Stdout)
		flags.PrintDefaults()
		fmt.Print(tail)
		return nil, err
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %s", flags.Arg(0))
	}
	if err != nil {
		return nil, fmt.Errorf("%v; see --help", err)
	}
	if _, _, err := net.SplitHostPort(o.coordinator); err != nil {
		return nil, fmt.Errorf("--coordinator is %s; give HOST:PORT", o.coordinator)
	}
	if o.dimensions < 1 || o.maxVersions < 1 {
		return nil, errors.New("--dimensions and --max-versions must be 1 or more")
	}
	if !(o.tolerance >= 0 && o.pause >= 0 && o.patience >= 0) {
		return nil, errors.New("--tolerance, --pause-seconds and --patience-seconds must be 0 or more")
	}
	return o, nil
}

// createRequest defines the run: one float64 parameter, linear so that u = λ, with zeros as its initial value.
func createRequest(o *options) *pb.CreateRunRequest {
	quorum := uint32(1)
	return &pb.CreateRunRequest{
		RunId: o.runID,
		Config: &pb.RunConfig{
			Parameters: []*pb.OuterParameter{{
				Name: parameter, Shape: []uint64{uint64(o.dimensions)},
				Dtype: pb.Dtype_DTYPE_FLOAT64, Scale: pb.Scale_SCALE_LINEAR}},
			Optimizer:   &pb.OuterOptimizer{Name: "sgd", Options: map[string]float64{"learning_rate": o.learningRate}},
			Rounds:      &pb.RoundPolicy{Quorum: &quorum},
			Work:        &pb.WorkSpec{InnerSteps: innerSteps, Kind: pb.UpdateKind_UPDATE_KIND_HYPERGRADIENT},
			Compression: &pb.Compression{Up: "identity", Down: "identity"},
			MaxVersions: o.maxVersions},
		InitialPayload: array{parameter, make([]float64, o.dimensions)}.encode()}
}

// drive works until the minimum is as near as the tolerance, or the run is over. It returns the last distance.
func drive(w *worker, o *options) (float64, error) {
	problem, distance, next := newQuadratic(o.dimensions), -1.0, uint64(0)
	for {
		u, late, err := w.checkout(next)
		if reasonOf(err) == "RUN_NOT_ACTIVE" {
			return distance, nil
		}
		if err != nil {
			return distance, err
		}
		if late == nil {
			continue
		}
		distance = problem.distance(u)
		w.retrier.report("version %d: |u - u*| = %.2e", w.version, distance)
		if distance <= o.tolerance || w.runEnded() {
			return distance, nil
		}
		found := problem.update(u, late)
		time.Sleep(time.Duration(o.pause * float64(time.Second)))
		taken, err := w.commit(found)
		if reasonOf(err) == "RUN_NOT_ACTIVE" {
			return distance, nil
		}
		if err != nil {
			return distance, err
		}
		next = 0
		if taken {
			next = w.version + 1
		}
	}
}

func run(o *options) (bool, error) {
	c, err := connect(o.coordinator, o.tlsCA, o.tokenFile)
	if err != nil {
		return false, err
	}
	defer c.connection.Close()
	report := func(format string, values ...interface{}) {
		if !o.quiet {
			fmt.Printf(format+"\n", values...)
		}
	}
	r := &retrier{patience: time.Duration(o.patience * float64(time.Second)), report: report}
	request := createRequest(o)
	err = r.answer("CreateRun", "", func() error {
		ctx, cancel := c.deadline(callTime)
		defer cancel()
		_, err := c.stub.CreateRun(ctx, request)
		return asCallError(err)
	})
	if err != nil {
		return false, err
	}
	report("created run %s", o.runID)
	w := newWorker(c, r, o.workerID, o.runID, parameter, o.dimensions)
	defer w.leave()
	if err := w.join(); err != nil {
		return false, err
	}
	distance, err := drive(w, o)
	if err != nil {
		return false, err
	}
	clean, err := finish(c, r, o.runID)
	if err != nil {
		return false, err
	}
	reached := distance >= 0 && distance <= o.tolerance
	return reached && clean, json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"run": o.runID, "version": w.version, "distance": distance, "reached": reached, "verified": clean,
		"accepted": w.accepted, "duplicate": w.duplicate, "returned": w.returned, "notModified": w.unmodified})
}

// finish ends the run and has its journal replayed: whether every digest agreed.
func finish(c *coordinator, r *retrier, runID string) (clean bool, err error) {
	err = r.answer("StopRun", "", func() error {
		ctx, cancel := c.deadline(callTime)
		defer cancel()
		_, err := c.stub.StopRun(ctx, &pb.StopRunRequest{RunId: runID, Reason: "the client is done"})
		return asCallError(err)
	})
	if err != nil {
		return false, err
	}
	err = r.answer("VerifyRun", "", func() error {
		ctx, cancel := c.deadline(scanTime)
		defer cancel()
		answer, err := c.stub.VerifyRun(ctx, &pb.VerifyRunRequest{RunId: runID})
		clean = answer.GetClean()
		return asCallError(err)
	})
	return clean, err
}

func main() {
	o, err := readOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chronos-client:", err)
		os.Exit(2)
	}
	reached, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chronos-client:", problem(err))
	}
	var usage usageError
	if errors.As(err, &usage) {
		os.Exit(2)
	}
	if err != nil || !reached {
		os.Exit(1)
	}
}
