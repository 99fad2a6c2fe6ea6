// What can go wrong: bytes that cannot be accepted, calls that were refused, calls that got lost.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace grpc {
class Status;
}

// Something that the person who started the program has to change.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Bytes that cannot be accepted; `reason` is the coordinator's word for it.
struct PayloadError : std::runtime_error {
  PayloadError(const std::string& reason, const std::string& text)
      : std::runtime_error(reason + ": " + text), reason(reason) {}
  std::string reason;
};

// A call that ended with a gRPC status other than OK.
struct CallError : std::runtime_error {
  // Reads the details too that the status carries.
  explicit CallError(const grpc::Status& status);

  // Whether the very same request may succeed later: it came at a bad moment, or got lost.
  bool Repeatable() const;

  // A fact as a number, or `missing`.
  double Number(const std::string& name, double missing) const;

  // What the coordinator told: its reason (empty when gRPC itself made the status), the facts, numbers as JSON, and
  // the pause that it asks for before a repetition, 0 for none.
  struct Told {
    std::string reason;
    std::map<std::string, std::string> details;
    std::vector<std::string> fields;
    double retry_seconds = 0;
  };

  int code;
  Told told;

 private:
  CallError(const grpc::Status& status, Told told);
};
