// Creates a run on a Chronos coordinator, works on it and drives it to its minimum. See --help.

#include <chrono>
#include <cstdio>
#include <iostream>
#include <thread>

#include "options.h"
#include "worker.h"

namespace pb = chronos::v1;

namespace {

constexpr char kParameter[] = "u";

// One float64 parameter, linear so that u = λ, with zeros as its initial value.
pb::CreateRunRequest DefineRun(const Options& options) {
  pb::CreateRunRequest request;
  request.set_run_id(options.run_id);
  pb::RunConfig& config = *request.mutable_config();
  pb::OuterParameter& parameter = *config.add_parameters();
  parameter.set_name(kParameter);
  parameter.add_shape(options.dimensions);
  parameter.set_dtype(pb::DTYPE_FLOAT64);
  parameter.set_scale(pb::SCALE_LINEAR);
  config.mutable_optimizer()->set_name("sgd");
  (*config.mutable_optimizer()->mutable_options())["learning_rate"] = options.learning_rate;
  config.mutable_rounds()->set_quorum(1);
  config.mutable_work()->set_inner_steps(Quadratic::kInnerSteps);
  config.mutable_work()->set_kind(pb::UPDATE_KIND_HYPERGRADIENT);
  config.mutable_compression()->set_up("identity");
  config.mutable_compression()->set_down("identity");
  config.set_max_versions(options.max_versions);
  request.set_initial_payload(Array{kParameter, std::vector<double>(options.dimensions)}.Encode());
  return request;
}

// Works until the minimum is as near as the tolerance, or the run is over. Returns the last distance, -1 for none.
double Drive(Worker& worker, const Options& options, Retrier& retrier) {
  Quadratic problem(options.dimensions);
  double distance = -1;
  uint64_t next = 0;
  try {
    for (;;) {
      const auto assignment = worker.CheckOut(next);
      if (!assignment) continue;
      distance = problem.Distance(assignment->u);
      char line[80];
      std::snprintf(line, sizeof line, "version %llu: |u - u*| = %.2e",
                    static_cast<unsigned long long>(worker.version), distance);
      retrier.report(line);
      if (distance <= options.tolerance || worker.RunEnded()) return distance;
      const Update update = problem.Work(assignment->u, assignment->late);
      std::this_thread::sleep_for(std::chrono::duration<double>(options.pause_seconds));
      next = worker.Commit(update) ? worker.version + 1 : 0;
    }
  } catch (const CallError& error) {
    if (error.told.reason != "RUN_NOT_ACTIVE") throw;
    return distance;
  }
}

int Run(const Options& options) {
  Coordinator coordinator(options.coordinator, options.tls_ca, options.token_file);
  Retrier retrier(options.patience_seconds, [&](const std::string& line) {
    if (!options.quiet) std::cout << line << std::endl;
  });
  const pb::CreateRunRequest request = DefineRun(options);
  retrier.Answer("CreateRun", [&] { coordinator.CreateRun(request); });
  retrier.report("created run " + options.run_id);

  Worker worker(coordinator, retrier, options.worker_id, options.run_id, kParameter, options.dimensions);
  const double distance = Drive(worker, options, retrier);
  bool clean = false;
  retrier.Answer("StopRun", [&] { coordinator.StopRun(options.run_id); });
  retrier.Answer("VerifyRun", [&] { clean = coordinator.VerifyRun(options.run_id); });

  const bool reached = distance >= 0 && distance <= options.tolerance;
  const auto yes = [](bool value) { return value ? "true" : "false"; };
  std::printf(
      "{\"version\":%llu,\"distance\":%.17g,\"reached\":%s,\"verified\":%s,\"accepted\":%d,\"duplicate\":%d,"
      "\"returned\":%d,\"notModified\":%d}\n",
      static_cast<unsigned long long>(worker.version), distance, yes(reached), yes(clean), worker.accepted,
      worker.duplicate, worker.returned, worker.unmodified);
  return reached && clean ? 0 : 1;
}

// One line that says what is wrong.
int Fail(const std::string& problem, int status) {
  std::cerr << "chronos-client: " << problem << std::endl;
  return status;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const Options options = ReadOptions(count, arguments);
    if (options.help) {
      std::cout << Help();
      return 0;
    }
    return Run(options);
  } catch (const UsageError& error) {
    return Fail(error.what(), 2);
  } catch (const CallError& error) {
    if (!error.told.reason.empty()) return Fail(error.what(), 1);
    return Fail(std::string("the coordinator does not answer (") + error.what() +
                    "); check that it runs and that --coordinator is right", 1);
  } catch (const std::exception& error) {
    return Fail(error.what(), 1);
  }
}
