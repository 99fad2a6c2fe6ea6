// Asking again: the very same request, after the pause that the server asks for or one that grows.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

class Retrier {
 public:
  // `patience_seconds` is how long the coordinator may stay away in the middle of a run; `report` takes a line.
  Retrier(double patience_seconds, std::function<void(const std::string&)> report)
      : report(std::move(report)), patience_seconds_(patience_seconds) {}

  // Makes the call, and again while that may help. `passing` is a reason that the caller wants to see although a
  // repetition might help. Throws CallError: a definitive one, or the last when patience is at its end.
  void Answer(const std::string& what, const std::function<void()>& call, const std::string& passing = "");

  const std::function<void(const std::string&)> report;

 private:
  using Clock = std::chrono::steady_clock;
  const double patience_seconds_;
  std::optional<Clock::time_point> heard_;
};
