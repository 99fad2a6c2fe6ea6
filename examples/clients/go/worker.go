package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	pb "example.com/chronos-client/chronosv1"
	"google.golang.org/protobuf/types/known/durationpb"
)

const waitTime = 5 * time.Second

// A worker is one process of a careful worker, at work on one run: a member that proves that it lives, holds leases,
// and sends a chain of commits of which each is applied exactly once.
type worker struct {
	coordinator         *coordinator
	retrier             *retrier
	id, instance, runID string
	parameter           string
	dimensions          int

	lastApplied, nextSeq uint64 // the commit chain
	chainOf              uint64 // the incarnation that it belongs to; 0 before the first checkout
	residualLost         bool
	residual             []float64 // what was refused, to go with the next update
	held                 *array    // the version checked out last, and its values
	version              uint64
	accepted, duplicate  int
	returned, unmodified int

	mutex       sync.Mutex // guards what the heartbeats share
	incarnation uint64
	heartbeat   time.Duration
	holding     []*pb.HeldLease
	ended       bool
	failure     error
	left        chan struct{}
}

func newWorker(c *coordinator, r *retrier, id, runID, parameter string, dimensions int) *worker {
	random := make([]byte, 16)
	_, _ = rand.Read(random)
	return &worker{
		coordinator: c, retrier: r, id: id, instance: hex.EncodeToString(random), runID: runID,
		parameter: parameter, dimensions: dimensions, left: make(chan struct{})}
}

// join registers this process, and proves from then on that it lives.
func (w *worker) join() error {
	if err := w.retrier.answer("register", "", w.register); err != nil {
		return err
	}
	go func() {
		for {
			w.mutex.Lock()
			pause := w.heartbeat
			w.mutex.Unlock()
			select {
			case <-w.left:
				return
			case <-time.After(pause):
				w.beat()
			}
		}
	}()
	return nil
}

// leave says goodbye and returns the lease. A coordinator that does not hear it lets the lease expire.
func (w *worker) leave() {
	close(w.left)
	if incarnation, _, _ := w.state(); incarnation != 0 {
		ctx, cancel := w.coordinator.deadline(callTime)
		defer cancel()
		request := &pb.DeregisterWorkerRequest{WorkerId: w.id, Incarnation: incarnation, Reason: "done"}
		_, _ = w.coordinator.stub.DeregisterWorker(ctx, request)
	}
}

// checkout checks a version out, and waits a moment for one of at least `minVersion`; what comes may be older.
// `late` says whether the lease is over. Without an error and without a `late`, begin anew.
func (w *worker) checkout(minVersion uint64) (u []float64, late func() bool, err error) {
	incarnation, _, failure := w.state()
	if failure != nil {
		return nil, nil, failure
	}
	called := time.Now()
	found, err := w.checkedOut(incarnation, minVersion)
	if err == nil {
		w.enter(incarnation, found)
		err = w.take(found)
	}
	if err != nil {
		return nil, nil, w.checkoutFailed(err)
	}
	deadline := called.Add(found.header.GetWorkTime().AsDuration())
	w.hold([]*pb.HeldLease{{RunId: w.runID, Base: at(w.version)}})
	return w.held.values, func() bool { return time.Now().After(deadline) || w.runEnded() }, nil
}

// commit sends the update at the version checked out, with what earlier refusals left behind. It returns whether the
// coordinator took it; otherwise it waits in the residual.
func (w *worker) commit(found update) (bool, error) {
	defer w.hold(nil)
	sent := append([]float64(nil), found.gradient...)
	for i := range w.residual {
		sent[i] += w.residual[i]
	}
	w.residual = nil
	payload := array{w.parameter, sent}.encode()
	header := &pb.CommitHeader{
		RunId: w.runID, WorkerId: w.id, Incarnation: w.chainOf, Seq: w.nextSeq, PrevApplied: w.lastApplied,
		Base: at(w.version), Kind: pb.UpdateKind_UPDATE_KIND_HYPERGRADIENT, Work: found.work, Tasks: 1,
		Metrics:      map[string]float64{"outer_loss": found.outerLoss},
		PayloadBytes: uint64(len(payload)), ResidualLost: w.residualLost}
	w.nextSeq++
	answer, err := w.send(header, payload)
	if err == nil {
		w.applied(header.Seq)
		if answer.GetDuplicate() {
			w.duplicate++
		} else {
			w.accepted++
		}
		return true, nil
	}
	switch reasonOf(err) {
	case "STALE_COMMIT", "WORKER_NOT_MEMBER", "CHAIN_BROKEN":
		w.settle(header, sent, err)
		return false, nil
	}
	return false, err
}

// register announces this process, once.
func (w *worker) register() error {
	ctx, cancel := w.coordinator.deadline(callTime)
	defer cancel()
	request := &pb.RegisterWorkerRequest{WorkerId: w.id, InstanceId: w.instance, Device: "cpu"}
	answer, err := w.coordinator.stub.RegisterWorker(ctx, request)
	if err != nil {
		return asCallError(err)
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.incarnation, w.heartbeat = answer.GetIncarnation(), answer.GetHeartbeatInterval().AsDuration()
	if w.heartbeat <= 0 {
		w.heartbeat = time.Second
	}
	atomic.StoreUint64(&w.coordinator.maxPayload, answer.GetMaxPayloadBytes())
	return nil
}

// beat sends one heartbeat. What is not answered, the next one tells.
func (w *worker) beat() {
	ctx, cancel := w.coordinator.deadline(callTime)
	defer cancel()
	w.mutex.Lock()
	request := &pb.HeartbeatRequest{WorkerId: w.id, Incarnation: w.incarnation, Holding: w.holding}
	w.mutex.Unlock()
	answer, err := w.coordinator.stub.Heartbeat(ctx, request)
	err = asCallError(err)
	if reasonOf(err) == "WORKER_UNKNOWN" {
		_ = w.register()
		return
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if reasonOf(err) == "INCARNATION_SUPERSEDED" {
		w.failure = err
	}
	for _, run := range answer.GetEndedRuns() {
		w.ended = w.ended || run == w.runID
	}
}

func (w *worker) checkedOut(incarnation, minVersion uint64) (found *checkout, err error) {
	request := &pb.CheckoutVersionRequest{RunId: w.runID, WorkerId: w.id, Incarnation: incarnation}
	if w.held != nil {
		request.Known = at(w.version)
	}
	if minVersion > 0 {
		request.MinVersion, request.Wait = minVersion, durationpb.New(waitTime)
		err = w.retrier.answer("checkout", "WAIT_EXPIRED", func() (err error) {
			found, err = w.coordinator.checkout(request, waitTime)
			return err
		})
		if reasonOf(err) != "WAIT_EXPIRED" {
			return found, err
		}
		// Nothing newer: working again at an unchanged version is allowed.
		request.MinVersion, request.Wait = 0, nil
	}
	err = w.retrier.answer("checkout", "", func() (err error) {
		found, err = w.coordinator.checkout(request, 0)
		return err
	})
	return found, err
}

// enter takes the commit chain up where the coordinator says it stands.
func (w *worker) enter(incarnation uint64, found *checkout) {
	last := found.header.GetLastApplied()
	if w.chainOf != incarnation {
		// An earlier process of this worker may have owed something. It kept nothing, so that this is lost.
		w.residualLost = last > 0 && found.header.GetAppliedBy() != incarnation
		w.chainOf, w.lastApplied, w.nextSeq = incarnation, last, last+1
	}
	if last > w.lastApplied {
		w.lastApplied = last
	}
	if w.nextSeq <= last {
		w.nextSeq = last + 1
	}
}

// take replaces the held values by those of a checkout, and proves them by their digest. This client asks for the
// identity downlink, which sends whole values or none.
func (w *worker) take(found *checkout) error {
	held := w.held
	w.held = nil
	for _, part := range found.header.GetParts() {
		if part.GetKind() != pb.PartKind_PART_KIND_SNAPSHOT || part.GetLength() != uint64(len(found.payload)) {
			return &payloadError{"MALFORMED_PAYLOAD", "a delta came in a run whose versions come whole"}
		}
		whole, err := decode(found.payload, w.parameter, w.dimensions)
		if err != nil {
			return err
		}
		held = &whole
	}
	if found.header.GetNotModified() {
		w.unmodified++
	}
	if held == nil || held.digest() != found.header.GetDigest() {
		return &payloadError{"DIGEST_MISMATCH", "the values of a checkout do not have its digest"}
	}
	w.held, w.version = held, found.version
	return nil
}

// checkoutFailed repairs what it can, so that the caller begins anew, or returns the error.
func (w *worker) checkoutFailed(err error) error {
	w.held = nil
	var damaged *payloadError
	switch {
	case reasonOf(err) == "WORKER_UNKNOWN":
		return w.retrier.answer("register", "", w.register)
	case reasonOf(err) == "UNKNOWN_VERSION" || (errors.As(err, &damaged) && damaged.reason == "DIGEST_MISMATCH"):
		w.retrier.report("checkout anew: %v", err)
		return nil
	}
	return err
}

// send sends a commit until it is answered: whatever is sent again is the same in every byte.
func (w *worker) send(header *pb.CommitHeader, payload []byte) (answer *pb.CommitUpdateResponse, err error) {
	for {
		err = w.retrier.answer("commit", "", func() (err error) {
			answer, err = w.coordinator.commit(header, payload)
			return err
		})
		if reasonOf(err) != "WORKER_UNKNOWN" {
			return answer, err
		}
		if failed := w.retrier.answer("register", "", w.register); failed != nil {
			return nil, failed
		}
		if incarnation, _, _ := w.state(); incarnation != header.Incarnation {
			return nil, err
		}
	}
}

func (w *worker) applied(seq uint64) { w.lastApplied, w.residualLost = seq, false }

// settle is what a refusal decides about a commit: applied after all, or back to the residual, or in part.
func (w *worker) settle(header *pb.CommitHeader, sent []float64, err error) {
	var failure *callError
	errors.As(err, &failure)
	keep := 1.0
	switch failure.reason {
	case "CHAIN_BROKEN":
		last := uint64(failure.number("last_applied", 0))
		if last == header.Seq {
			w.applied(header.Seq)
			return
		}
		w.lastApplied = last
		if w.nextSeq <= last {
			w.nextSeq = last + 1
		}
	case "STALE_COMMIT":
		keep = failure.number("weight", 1)
	}
	for i := range sent {
		sent[i] *= keep
	}
	w.residual = sent
	w.returned++
	w.retrier.report("commit %d returned: %v", header.Seq, err)
}

func (w *worker) hold(leases []*pb.HeldLease) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.holding = leases
}

func (w *worker) state() (incarnation uint64, ended bool, failure error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.incarnation, w.ended, w.failure
}

func (w *worker) runEnded() bool {
	_, ended, _ := w.state()
	return ended
}

func at(version uint64) []*pb.FragmentVersion { return []*pb.FragmentVersion{{Version: version}} }
