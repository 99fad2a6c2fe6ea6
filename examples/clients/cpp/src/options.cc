#include "options.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>

#include "failure.h"

namespace {

double Number(const std::string& flag, const std::string& text) {
  size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::logic_error&) {
    used = 0;
  }
  if (text.empty() || used != text.size() || !std::isfinite(value)) {
    throw UsageError(flag + " is " + text + "; give a number");
  }
  return value;
}

double AtLeastZero(const std::string& flag, const std::string& text) {
  const double value = Number(flag, text);
  if (value < 0) throw UsageError(flag + " is " + text + "; give 0 or more");
  return value;
}

uint64_t Count(const std::string& flag, const std::string& text) {
  const double value = Number(flag, text);
  if (value < 1 || value > 1e15 || value != std::floor(value)) {
    throw UsageError(flag + " is " + text + "; give a whole number from 1");
  }
  return static_cast<uint64_t>(value);
}

std::string Address(const std::string& flag, const std::string& text) {
  const size_t colon = text.rfind(':');
  const bool port = colon != std::string::npos && text.find_first_not_of("0123456789", colon + 1) == std::string::npos;
  if (!port || colon == 0 || colon + 1 == text.size()) throw UsageError(flag + " is " + text + "; give HOST:PORT");
  return text;
}

std::string DefaultWorkerId() {
  char host[256] = "worker";
  gethostname(host, sizeof host - 1);
  const std::string name = host;
  return "cpp-" + name.substr(0, name.find('.'));
}

std::string DefaultRunId() {
  char name[32];
  std::snprintf(name, sizeof name, "quadratic-cpp-%08x", std::random_device{}());
  return name;
}

}  // namespace

Options ReadOptions(int count, char** arguments) {
  Options o;
  o.run_id = DefaultRunId();
  o.worker_id = DefaultWorkerId();
  using Set = std::function<void(const std::string& flag, const std::string& text)>;
  const std::map<std::string, Set> with_value = {
      {"--coordinator", [&](auto& flag, auto& text) { o.coordinator = Address(flag, text); }},
      {"--run-id", [&](auto&, auto& text) { o.run_id = text; }},
      {"--worker-id", [&](auto&, auto& text) { o.worker_id = text; }},
      {"--dimensions", [&](auto& flag, auto& text) { o.dimensions = Count(flag, text); }},
      {"--learning-rate", [&](auto& flag, auto& text) { o.learning_rate = Number(flag, text); }},
      {"--max-versions", [&](auto& flag, auto& text) { o.max_versions = Count(flag, text); }},
      {"--tolerance", [&](auto& flag, auto& text) { o.tolerance = AtLeastZero(flag, text); }},
      {"--pause-seconds", [&](auto& flag, auto& text) { o.pause_seconds = AtLeastZero(flag, text); }},
      {"--patience-seconds", [&](auto& flag, auto& text) { o.patience_seconds = AtLeastZero(flag, text); }},
      {"--tls-ca", [&](auto&, auto& text) { o.tls_ca = text; }},
      {"--token-file", [&](auto&, auto& text) { o.token_file = text; }},
  };
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    const size_t equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    const auto found = with_value.find(flag);
    if (flag == "--quiet") {
      o.quiet = true;
    } else if (flag == "--help") {
      o.help = true;
    } else if (found == with_value.end()) {
      throw UsageError("unknown option " + argument + "; see --help");
    } else if (equals != std::string::npos) {
      found->second(flag, argument.substr(equals + 1));
    } else if (++i == count) {
      throw UsageError(flag + " needs a value; see --help");
    } else {
      found->second(flag, arguments[i]);
    }
  }
  return o;
}

std::string Help() {
  return R"(Usage: chronos-client [options]

Creates a run on a Chronos coordinator, works on it and drives a quadratic to its minimum.

  --coordinator HOST:PORT   the coordinator (127.0.0.1:50551)
  --run-id ID               name of the run (a new one each time)
  --worker-id ID            stable name of this worker (cpp-<host name>)
  --dimensions N            outer parameters, 1 or more (8)
  --learning-rate X         of plain gradient descent (1.2)
  --max-versions N          the run ends at this version (200)
  --tolerance X             largest distance from the minimum (1e-6)
  --pause-seconds X         work that much longer on each version (0)
  --patience-seconds X      how long the coordinator may be away in the middle of the run (60)
  --tls-ca FILE             encrypt, and trust this certificate authority
  --token-file FILE         file with the bearer token
  --quiet                   print only the outcome
  --help                    this text

Exit status: 0 the minimum was reached and the journal verified, 1 it was not, 2 wrong usage.
)";
}
