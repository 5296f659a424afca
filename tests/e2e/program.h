// Runs the program as a user would.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

#include "core/check.h"

namespace onepass {

struct Outcome {
  int exit_code = -1;  // -1: it did not exit by itself
  std::string output;  // stdout and stderr
};

inline Outcome RunShell(const std::string& command) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  ONEPASS_CHECK(pipe != nullptr, "popen");
  Outcome outcome;
  std::array<char, 4096> block;
  while (const size_t count = std::fread(block.data(), 1, block.size(), pipe)) {
    outcome.output.append(block.data(), count);
  }
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

// `arguments` as a shell reads them.
inline Outcome RunOnepass(const std::string& arguments) {
  std::string command = ONEPASS_BINARY;
  command += ' ';
  command += arguments;
  return RunShell(command);
}

}  // namespace onepass
