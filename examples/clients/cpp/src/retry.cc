#include "retry.h"

#include <algorithm>
#include <random>
#include <thread>

#include "failure.h"

namespace {
constexpr double kFirstSeconds = 0.1;
constexpr double kLongestSeconds = 2;
constexpr double kConnectSeconds = 5;  // a coordinator that is away at first has probably another address
}  // namespace

void Retrier::Answer(const std::string& what, const std::function<void()>& call, const std::string& passing) {
  static std::mt19937 random{std::random_device{}()};
  const auto began = Clock::now();
  for (double pause = kFirstSeconds;; pause = std::min(2 * pause, kLongestSeconds)) {
    try {
      call();
      heard_ = Clock::now();
      return;
    } catch (const CallError& error) {
      if (!error.told.reason.empty()) heard_ = Clock::now();
      if (!error.Repeatable() || (!passing.empty() && error.told.reason == passing)) throw;
      const double limit = heard_ ? patience_seconds_ : kConnectSeconds;
      const auto since = std::max(began, heard_.value_or(began));
      if (std::chrono::duration<double>(Clock::now() - since).count() > limit) throw;
      report(what + " again: " + error.what());
      // The server's pause is the least; jitter keeps clients that lost the same server from coming back at once.
      const double least = error.told.retry_seconds > 0 ? error.told.retry_seconds : pause / 2;
      const double seconds = least * std::uniform_real_distribution<>(1, 2)(random);
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    }
  }
}
