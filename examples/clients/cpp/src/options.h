// The command line.
#pragma once

#include <cstdint>
#include <string>

struct Options {
  std::string coordinator = "127.0.0.1:50551";
  std::string run_id, worker_id, tls_ca, token_file;
  uint64_t dimensions = 8, max_versions = 200;
  double learning_rate = 1.2, tolerance = 1e-6, pause_seconds = 0, patience_seconds = 60;
  bool quiet = false, help = false;
};

// Throws UsageError, in one line.
Options ReadOptions(int count, char** arguments);

std::string Help();
