// The subcommands. Each Add*Command adds its flags to `app`; when it is the one chosen, its
// callback runs the work and puts the process's exit code into *exit_code (0 done, 1 a fault,
// reported in one line on stderr; wrong usage, flags' values included, is 2, by main).
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "core/status.h"

namespace onepass {

void AddInspectCommand(CLI::App& app, int* exit_code);
void AddInitBaseCommand(CLI::App& app, int* exit_code);
void AddConvertCommand(CLI::App& app, int* exit_code);
void AddTokenizeCommand(CLI::App& app, int* exit_code);
void AddDataCommand(CLI::App& app, int* exit_code);
void AddIndexCommand(CLI::App& app, int* exit_code);
void AddRunCommand(CLI::App& app, int* exit_code);
void AddTrainCommand(CLI::App& app, int* exit_code);
void AddKvCommand(CLI::App& app, int* exit_code);
void AddEvalCommand(CLI::App& app, int* exit_code);
void AddServeCommand(CLI::App& app, int* exit_code);
void AddBenchCommand(CLI::App& app, int* exit_code);
void AddKvErrorCommand(CLI::App& bench, int* exit_code);     // bench kv-error
void AddReplayCommand(CLI::App& bench, int* exit_code);      // bench replay
void AddServeBenchCommand(CLI::App& bench, int* exit_code);  // bench serve

// Prints "onepass: message" to stderr if not ok; the exit code.
int ReportStatus(const Status& status);

// For faults of the command line's values: ends the command as wrong usage, in one line, if not ok.
// (By an exception that main catches: within the flags' library there is no other way.)
void CheckUsage(const Status& status);
struct UsageError {
  Status status;
};

// A flag's check: ok where `parse`, which returns a Result, takes its value.
template <class Parse>
CLI::Validator ParsedBy(Parse parse) {
  return CLI::Validator(
      [parse](const std::string& value) {
        const Status status = parse(value).status();
        return status.ok() ? std::string() : status.message();
      },
      "");
}

// A flag's check: a number that is not negative, or a positive one.
inline CLI::Validator NumberFrom(const char* wanted, bool zero) {
  return CLI::Validator(
      [wanted, zero](const std::string& value) {
        double number = -1;
        const bool is_number = CLI::detail::lexical_cast(value, number);
        const bool fits = is_number && (zero ? number >= 0 : number > 0) && number < 0x1p63;
        return fits ? std::string() : std::string("want ") + wanted + ", found " + value;
      },
      "");
}
inline CLI::Validator NotNegative() { return NumberFrom("0 or more", true); }
inline CLI::Validator Positive() { return NumberFrom("more than 0", false); }

}  // namespace onepass
