#include "worker.h"

#include <algorithm>
#include <cstdio>
#include <random>

namespace pb = chronos::v1;

namespace {

constexpr int kWaitSeconds = 5;

double Seconds(const google::protobuf::Duration& duration) { return duration.seconds() + duration.nanos() / 1e9; }

std::string RandomName() {
  std::random_device random;
  std::string name;
  for (int i = 0; i < 4; ++i) {
    char part[9];
    std::snprintf(part, sizeof part, "%08x", random());
    name += part;
  }
  return name;
}

}  // namespace

Worker::Worker(Coordinator& coordinator, Retrier& retrier, std::string id, std::string run_id, std::string parameter,
               size_t dimensions)
    : coordinator_(coordinator), retrier_(retrier), id_(std::move(id)), instance_(RandomName()),
      run_id_(std::move(run_id)), parameter_(std::move(parameter)), dimensions_(dimensions) {
  retrier_.Answer("register", [this] { Register(); });
  heartbeats_ = std::thread([this] {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!left_.wait_for(lock, std::chrono::duration<double>(heartbeat_seconds_), [this] { return leaving_; })) {
      lock.unlock();
      Beat();
      lock.lock();
    }
  });
}

Worker::~Worker() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    leaving_ = true;
  }
  left_.notify_one();
  heartbeats_.join();
  pb::DeregisterWorkerRequest request;
  request.set_worker_id(id_);
  request.set_incarnation(incarnation_);
  request.set_reason("done");
  try {
    coordinator_.Deregister(request);
  } catch (const CallError&) {
    // The coordinator is away, or has let this worker go already.
  }
}

std::optional<Worker::Assignment> Worker::CheckOut(uint64_t min_version) {
  uint64_t incarnation;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failure_) throw *failure_;
    incarnation = incarnation_;
  }
  const auto called = Clock::now();
  try {
    const Checkout checkout = CheckedOut(incarnation, min_version);
    Enter(incarnation, checkout.header);
    Take(checkout);
    const auto work_time = std::chrono::duration<double>(Seconds(checkout.header.work_time()));
    const auto deadline = called + std::chrono::duration_cast<Clock::duration>(work_time);
    Hold(version);
    return Assignment{held_->values, [this, deadline] { return Clock::now() >= deadline || RunEnded(); }};
  } catch (const PayloadError& error) {
    held_.reset();
    if (error.reason != "DIGEST_MISMATCH") throw;
    retrier_.report(std::string("checkout anew: ") + error.what());
  } catch (const CallError& error) {
    held_.reset();
    if (error.told.reason == "WORKER_UNKNOWN") {
      retrier_.Answer("register", [this] { Register(); });
    } else if (error.told.reason != "UNKNOWN_VERSION") {
      throw;
    }
  }
  return std::nullopt;
}

bool Worker::Commit(const Update& update) {
  std::vector<double> sent = update.gradient;
  for (size_t i = 0; i < residual_.size(); ++i) sent[i] += residual_[i];
  residual_.clear();
  const std::string payload = Array{parameter_, sent}.Encode();
  pb::CommitHeader header;
  header.set_run_id(run_id_);
  header.set_worker_id(id_);
  header.set_incarnation(chain_of_);
  header.set_seq(next_seq_++);
  header.set_prev_applied(last_applied_);
  header.add_base()->set_version(version);
  header.set_kind(pb::UPDATE_KIND_HYPERGRADIENT);
  header.set_work(update.work);
  header.set_tasks(1);
  (*header.mutable_metrics())["outer_loss"] = update.outer_loss;
  header.set_payload_bytes(payload.size());
  header.set_residual_lost(residual_lost_);
  bool taken = false;
  try {
    const bool again = Send(header, payload).duplicate();
    Applied(header.seq());
    ++(again ? duplicate : accepted);
    taken = true;
  } catch (const CallError& error) {
    const std::string& reason = error.told.reason;
    if (reason != "STALE_COMMIT" && reason != "WORKER_NOT_MEMBER" && reason != "CHAIN_BROKEN") throw;
    Settle(header.seq(), std::move(sent), error);
  }
  Hold(std::nullopt);
  return taken;
}

bool Worker::RunEnded() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ended_;
}

void Worker::Register() {
  pb::RegisterWorkerRequest request;
  request.set_worker_id(id_);
  request.set_instance_id(instance_);
  request.set_device("cpu");
  const auto answer = coordinator_.Register(request);
  coordinator_.max_payload_bytes = answer.max_payload_bytes();
  const std::lock_guard<std::mutex> lock(mutex_);
  incarnation_ = answer.incarnation();
  const double seconds = Seconds(answer.heartbeat_interval());
  heartbeat_seconds_ = seconds > 0 ? seconds : 1;
}

// Sends one heartbeat. What is not answered, the next one tells.
void Worker::Beat() {
  pb::HeartbeatRequest request;
  request.set_worker_id(id_);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    request.set_incarnation(incarnation_);
    if (holding_) {
      pb::HeldLease& lease = *request.add_holding();
      lease.set_run_id(run_id_);
      lease.add_base()->set_version(*holding_);
    }
  }
  try {
    const auto answer = coordinator_.Heartbeat(request);
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto& runs = answer.ended_runs();
    ended_ = ended_ || std::find(runs.begin(), runs.end(), run_id_) != runs.end();
  } catch (const CallError& error) {
    if (error.told.reason == "INCARNATION_SUPERSEDED") {
      const std::lock_guard<std::mutex> lock(mutex_);
      failure_ = error;
    } else if (error.told.reason == "WORKER_UNKNOWN") {
      try {
        Register();
      } catch (const CallError&) {
        // The next heartbeat tries again.
      }
    }
  }
}

void Worker::Hold(std::optional<uint64_t> base) {
  const std::lock_guard<std::mutex> lock(mutex_);
  holding_ = base;
}

uint64_t Worker::Incarnation() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return incarnation_;
}

Checkout Worker::CheckedOut(uint64_t incarnation, uint64_t min_version) {
  pb::CheckoutVersionRequest request;
  request.set_run_id(run_id_);
  request.set_worker_id(id_);
  request.set_incarnation(incarnation);
  if (held_) request.add_known()->set_version(version);
  Checkout checkout;
  if (min_version > 0) {
    request.set_min_version(min_version);
    try {
      const auto wait = [&] { checkout = coordinator_.CheckoutVersion(request, kWaitSeconds); };
      retrier_.Answer("checkout", wait, "WAIT_EXPIRED");
      return checkout;
    } catch (const CallError& error) {
      if (error.told.reason != "WAIT_EXPIRED") throw;
      request.clear_min_version();  // nothing newer: working again at an unchanged version is allowed
    }
  }
  retrier_.Answer("checkout", [&] { checkout = coordinator_.CheckoutVersion(request, 0); });
  return checkout;
}

// Takes the commit chain up where the coordinator says it stands.
void Worker::Enter(uint64_t incarnation, const pb::CheckoutHeader& header) {
  if (chain_of_ != incarnation) {
    // An earlier process of this worker may have owed something. It kept nothing, so that this is lost.
    residual_lost_ = header.last_applied() > 0 && header.applied_by() != incarnation;
    chain_of_ = incarnation;
    last_applied_ = header.last_applied();
    next_seq_ = last_applied_ + 1;
  }
  last_applied_ = std::max(last_applied_, header.last_applied());
  next_seq_ = std::max(next_seq_, header.last_applied() + 1);
}

// Replaces the held values by those of a checkout, and proves them by their digest. This client asks for the identity
// downlink, which sends whole values or none.
void Worker::Take(const Checkout& checkout) {
  for (const pb::PayloadPart& part : checkout.header.parts()) {
    if (part.kind() != pb::PART_KIND_SNAPSHOT || part.length() != checkout.payload.size()) {
      throw PayloadError("MALFORMED_PAYLOAD", "a delta came in a run whose versions come whole");
    }
    held_ = Decode(checkout.payload, parameter_, dimensions_);
  }
  unmodified += checkout.header.not_modified();
  if (!held_ || held_->Digest() != checkout.header.digest()) {
    throw PayloadError("DIGEST_MISMATCH", "the values of a checkout do not have its digest");
  }
  version = checkout.version;
}

// Sends a commit until it is answered: whatever is sent again is the same in every byte.
pb::CommitUpdateResponse Worker::Send(const pb::CommitHeader& header, const std::string& payload) {
  for (;;) {
    try {
      pb::CommitUpdateResponse answer;
      retrier_.Answer("commit", [&] { answer = coordinator_.Commit(header, payload); });
      return answer;
    } catch (const CallError& error) {
      if (error.told.reason != "WORKER_UNKNOWN") throw;
      retrier_.Answer("register", [this] { Register(); });
      if (Incarnation() != header.incarnation()) throw;
    }
  }
}

void Worker::Applied(uint64_t seq) {
  last_applied_ = seq;
  residual_lost_ = false;
}

// What a refusal decides about a commit: applied after all, or back to the residual, or in part.
void Worker::Settle(uint64_t seq, std::vector<double> sent, const CallError& error) {
  double keep = 1;
  if (error.told.reason == "CHAIN_BROKEN") {
    const auto last = static_cast<uint64_t>(error.Number("last_applied", 0));
    if (last == seq) return Applied(seq);
    last_applied_ = last;
    next_seq_ = std::max(next_seq_, last + 1);
  } else if (error.told.reason == "STALE_COMMIT") {
    keep = error.Number("weight", 1);
  }
  for (double& value : sent) value *= keep;
  residual_ = std::move(sent);
  ++returned;
  retrier_.report("commit " + std::to_string(seq) + " returned: " + error.what());
}
