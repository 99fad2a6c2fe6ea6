#include "coordinator.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include "chronos/v1/coordinator.grpc.pb.h"
#include "failure.h"

namespace pb = chronos::v1;

namespace {

constexpr size_t kChunkBytes = 1 << 20;
constexpr int kMaxMessageBytes = 16 << 20;
constexpr uint64_t kMaxPayloadBytes = 1 << 30;
constexpr double kCallSeconds = 10;
constexpr double kScanSeconds = 60 * kCallSeconds;
constexpr double kSlowestBytesPerSecond = 1e6;

using Clock = std::chrono::system_clock;

Clock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

double TransferSeconds(uint64_t bytes) { return kCallSeconds + static_cast<double>(bytes) / kSlowestBytesPerSecond; }

std::string FileContent(const std::string& path, const std::string& flag) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!(content << file.rdbuf())) throw UsageError(flag + " " + path + " cannot be read, or is empty");
  return content.str();
}

grpc::ChannelArguments ChannelArguments() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // what may be repeated, and what with, this program decides itself
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // By its name a pause; in fact the least time that an attempt to connect is given.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(500 * kCallSeconds));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(1000 * kCallSeconds));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(500 * kCallSeconds));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  return arguments;
}

// Cancels a call whose stream falls silent, long before the deadline that a large payload needs.
class Watchdog {
 public:
  Watchdog(grpc::ClientContext& context, double seconds) : until_(Clock::now() + Seconds(seconds)) {
    thread_ = std::thread([this, &context] {
      std::unique_lock<std::mutex> lock(mutex_);
      while (!done_ && Clock::now() < until_) changed_.wait_until(lock, until_);
      if (!done_) context.TryCancel();
    });
  }

  ~Watchdog() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  void Heard() {
    const std::lock_guard<std::mutex> lock(mutex_);
    until_ = Clock::now() + Seconds(kCallSeconds);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Clock::time_point until_;
  bool done_ = false;
  std::thread thread_;
};

void Require(const grpc::Status& status) {
  if (!status.ok()) throw CallError(status);
}

}  // namespace

struct Coordinator::Connection {
  std::unique_ptr<pb::CoordinatorService::Stub> stub;
  std::string authorization;

  // Sets the deadline of a call, and the token.
  void Prepare(grpc::ClientContext& context, double seconds) const {
    context.set_deadline(Clock::now() + Seconds(seconds));
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  }

  template <typename Request, typename Response>
  Response Unary(grpc::Status (pb::CoordinatorService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                 const Request& request, double seconds = kCallSeconds) const {
    grpc::ClientContext context;
    Prepare(context, seconds);
    Response response;
    Require((stub.get()->*method)(&context, request, &response));
    return response;
  }
};

Coordinator::Coordinator(const std::string& address, const std::string& tls_ca, const std::string& token_file)
    : max_payload_bytes(kMaxPayloadBytes), connection_(std::make_unique<Connection>()) {
  std::shared_ptr<grpc::ChannelCredentials> security = grpc::InsecureChannelCredentials();
  if (!tls_ca.empty()) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = FileContent(tls_ca, "--tls-ca");
    security = grpc::SslCredentials(options);
  }
  if (!token_file.empty()) {
    std::istringstream words(FileContent(token_file, "--token-file"));
    std::string token;
    words >> token;
    connection_->authorization = "Bearer " + token;
  }
  connection_->stub = pb::CoordinatorService::NewStub(grpc::CreateCustomChannel(address, security, ChannelArguments()));
}

Coordinator::~Coordinator() = default;

void Coordinator::CreateRun(const pb::CreateRunRequest& request) {
  connection_->Unary(&pb::CoordinatorService::Stub::CreateRun, request);
}

void Coordinator::StopRun(const std::string& run_id) {
  pb::StopRunRequest request;
  request.set_run_id(run_id);
  request.set_reason("the client is done");
  connection_->Unary(&pb::CoordinatorService::Stub::StopRun, request);
}

bool Coordinator::VerifyRun(const std::string& run_id) {
  pb::VerifyRunRequest request;
  request.set_run_id(run_id);
  return connection_->Unary(&pb::CoordinatorService::Stub::VerifyRun, request, kScanSeconds).clean();
}

pb::RegisterWorkerResponse Coordinator::Register(const pb::RegisterWorkerRequest& request) {
  return connection_->Unary(&pb::CoordinatorService::Stub::RegisterWorker, request);
}

pb::HeartbeatResponse Coordinator::Heartbeat(const pb::HeartbeatRequest& request) {
  return connection_->Unary(&pb::CoordinatorService::Stub::Heartbeat, request);
}

void Coordinator::Deregister(const pb::DeregisterWorkerRequest& request) {
  connection_->Unary(&pb::CoordinatorService::Stub::DeregisterWorker, request);
}

Checkout Coordinator::CheckoutVersion(pb::CheckoutVersionRequest request, int wait_seconds) {
  if (wait_seconds > 0) request.mutable_wait()->set_seconds(wait_seconds);
  grpc::ClientContext context;
  connection_->Prepare(context, wait_seconds + TransferSeconds(kMaxPayloadBytes));
  Watchdog watchdog(context, wait_seconds + kCallSeconds);
  const auto stream = connection_->stub->CheckoutVersion(&context, request);

  Checkout checkout;
  bool headed = false;
  bool fits = true;
  for (pb::CheckoutVersionResponse message; stream->Read(&message);) {
    watchdog.Heard();
    if (!headed) checkout.header.Swap(message.mutable_header());
    headed = true;
    const uint64_t bytes = checkout.header.payload_bytes();
    fits = bytes <= max_payload_bytes && checkout.payload.size() + message.chunk().size() <= bytes;
    if (!fits) {
      context.TryCancel();
      break;
    }
    checkout.payload += message.chunk();
  }
  const grpc::Status status = stream->Finish();
  if (!fits) throw PayloadError("PAYLOAD_TOO_LARGE", "a checkout is larger than it said, or than this client takes");
  Require(status);
  if (checkout.payload.size() != checkout.header.payload_bytes() || checkout.header.versions_size() != 1) {
    throw PayloadError("MALFORMED_PAYLOAD", "a checkout was cut");
  }
  checkout.version = checkout.header.versions(0).version();
  return checkout;
}

pb::CommitUpdateResponse Coordinator::Commit(const pb::CommitHeader& header, const std::string& payload) {
  grpc::ClientContext context;
  connection_->Prepare(context, TransferSeconds(payload.size()));
  pb::CommitUpdateResponse response;
  const auto stream = connection_->stub->CommitUpdate(&context, &response);
  // The first chunk rides with the header; no other one is empty.
  pb::CommitUpdateRequest message;
  *message.mutable_header() = header;
  size_t start = 0;
  do {
    message.set_chunk(payload.substr(start, kChunkBytes));
    if (!stream->Write(message)) break;  // the server has answered already: Finish tells what
    message.clear_header();
    start += kChunkBytes;
  } while (start < payload.size());
  stream->WritesDone();
  Require(stream->Finish());
  return response;
}
