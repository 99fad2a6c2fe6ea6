// One process of a careful worker, at work on one run: a member that proves that it lives, holds leases, and sends a
// chain of commits of which each is applied exactly once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "array.h"
#include "coordinator.h"
#include "failure.h"
#include "quadratic.h"
#include "retry.h"

class Worker {
 public:
  // Registers this process, and proves from then on that it lives.
  Worker(Coordinator& coordinator, Retrier& retrier, std::string id, std::string run_id, std::string parameter,
         size_t dimensions);

  // Says goodbye and returns the lease. A coordinator that does not hear it lets the lease expire.
  ~Worker();

  // A version to work on; `late()` says whether the lease is over.
  struct Assignment {
    const std::vector<double>& u;
    std::function<bool()> late;
  };

  // Checks a version out, and waits a moment for one of at least `min_version`; what comes may be older. Without a
  // value, begin anew.
  std::optional<Assignment> CheckOut(uint64_t min_version);

  // Sends the update at the version checked out, with what earlier refusals left behind. Returns whether the
  // coordinator took it; otherwise it waits in the residual.
  bool Commit(const Update& update);

  bool RunEnded();

  uint64_t version = 0;
  int accepted = 0, duplicate = 0, returned = 0, unmodified = 0;

 private:
  using Clock = std::chrono::steady_clock;

  void Register();
  void Beat();
  void Hold(std::optional<uint64_t> base);
  uint64_t Incarnation();
  Checkout CheckedOut(uint64_t incarnation, uint64_t min_version);
  void Enter(uint64_t incarnation, const chronos::v1::CheckoutHeader& header);
  void Take(const Checkout& checkout);
  chronos::v1::CommitUpdateResponse Send(const chronos::v1::CommitHeader& header, const std::string& payload);
  void Applied(uint64_t seq);
  void Settle(uint64_t seq, std::vector<double> sent, const CallError& error);

  Coordinator& coordinator_;
  Retrier& retrier_;
  const std::string id_, instance_, run_id_, parameter_;
  const size_t dimensions_;

  uint64_t last_applied_ = 0, next_seq_ = 1;  // the commit chain
  uint64_t chain_of_ = 0;                     // the incarnation that it belongs to; 0 before the first checkout
  bool residual_lost_ = false;
  std::vector<double> residual_;  // what was refused, to go with the next update
  std::optional<Array> held_;     // the values of `version`

  std::mutex mutex_;  // guards what the heartbeats share
  std::condition_variable left_;
  bool leaving_ = false;
  bool ended_ = false;
  uint64_t incarnation_ = 0;
  double heartbeat_seconds_ = 1;
  std::optional<uint64_t> holding_;
  std::optional<CallError> failure_;
  std::thread heartbeats_;
};
