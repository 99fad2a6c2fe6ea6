#include "failure.h"

#include <grpcpp/support/status.h>

#include <cstdlib>
#include <sstream>

#include "google/rpc/refusal.pb.h"

namespace {

CallError::Told Unpack(const std::string& details) {
  CallError::Told told;
  google::rpc::Status status;
  if (!status.ParseFromString(details)) return told;
  for (const google::protobuf::Any& packed : status.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest request;
    google::rpc::RetryInfo retry;
    if (packed.UnpackTo(&info) && info.domain() == "chronos") {
      told.reason = info.reason();
      told.details.insert(info.metadata().begin(), info.metadata().end());
    } else if (packed.UnpackTo(&request)) {
      for (const auto& violation : request.field_violations()) told.fields.push_back(violation.field());
    } else if (packed.UnpackTo(&retry)) {
      told.retry_seconds = retry.retry_delay().seconds() + retry.retry_delay().nanos() / 1e9;
    }
  }
  return told;
}

const char* CodeName(int code) {
  static const char* const names[] = {
      "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
      "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
      "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
  return code >= 0 && code <= 16 ? names[code] : "UNKNOWN";
}

// "REASON (field NAME): message", in one line.
std::string Line(const grpc::Status& status, const CallError::Told& told) {
  std::string line = told.reason.empty() ? CodeName(status.error_code()) : told.reason;
  for (size_t i = 0; i < told.fields.size(); ++i) line += (i ? ", " : " (field ") + told.fields[i];
  line += told.fields.empty() ? ":" : "):";
  std::istringstream words(status.error_message());
  for (std::string word; words >> word;) line += " " + word;
  return line;
}

}  // namespace

CallError::CallError(const grpc::Status& status) : CallError(status, Unpack(status.error_details())) {}

CallError::CallError(const grpc::Status& status, Told told)
    : std::runtime_error(Line(status, told)), code(status.error_code()), told(std::move(told)) {}

bool CallError::Repeatable() const {
  switch (code) {
    case grpc::StatusCode::UNAVAILABLE:
      return true;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
      return told.reason.empty();
    default:
      return false;
  }
}

double CallError::Number(const std::string& name, double missing) const {
  const auto found = told.details.find(name);
  if (found == told.details.end()) return missing;
  char* end = nullptr;
  const double value = std::strtod(found->second.c_str(), &end);
  return end == found->second.c_str() ? missing : value;
}
