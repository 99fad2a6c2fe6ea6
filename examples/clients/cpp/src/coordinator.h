// Calls to a coordinator: a deadline on each, payloads in chunks, failures as CallError.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "chronos/v1/coordinator.pb.h"

// An answer to CheckoutVersion, taken in as a whole.
struct Checkout {
  chronos::v1::CheckoutHeader header;
  uint64_t version = 0;
  std::string payload;
};

// One connection. It is made with the first call, and again after every loss. May be used by several threads.
class Coordinator {
 public:
  // `tls_ca` and `token_file` are paths, or empty; throws UsageError when they cannot be read.
  Coordinator(const std::string& address, const std::string& tls_ca, const std::string& token_file);
  ~Coordinator();

  void CreateRun(const chronos::v1::CreateRunRequest& request);
  void StopRun(const std::string& run_id);
  bool VerifyRun(const std::string& run_id);
  chronos::v1::RegisterWorkerResponse Register(const chronos::v1::RegisterWorkerRequest& request);
  chronos::v1::HeartbeatResponse Heartbeat(const chronos::v1::HeartbeatRequest& request);
  void Deregister(const chronos::v1::DeregisterWorkerRequest& request);

  // Takes a version out; `wait_seconds` is how long the coordinator may let the call wait.
  Checkout CheckoutVersion(chronos::v1::CheckoutVersionRequest request, int wait_seconds);

  // Sends an update, and returns when it is durable.
  chronos::v1::CommitUpdateResponse Commit(const chronos::v1::CommitHeader& header, const std::string& payload);

  // The largest checkout that is taken in.
  std::atomic<uint64_t> max_payload_bytes;

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};
