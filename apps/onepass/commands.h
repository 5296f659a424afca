// The subcommands. Each Add*Command adds its flags to `app`; when it is the one chosen, its
// callback runs the work and puts the process's exit code into *exit_code (0 done, 1 a fault,
// reported in one line on stderr; wrong usage is 2, by RunMain).
#pragma once

#include <CLI/CLI.hpp>

#include "core/status.h"

namespace onepass {

void AddInspectCommand(CLI::App& app, int* exit_code);
void AddInitBaseCommand(CLI::App& app, int* exit_code);
void AddTokenizeCommand(CLI::App& app, int* exit_code);
void AddDataCommand(CLI::App& app, int* exit_code);
void AddRunCommand(CLI::App& app, int* exit_code);
void AddTrainCommand(CLI::App& app, int* exit_code);
void AddEvalCommand(CLI::App& app, int* exit_code);
void AddBenchCommand(CLI::App& app, int* exit_code);

// Prints "onepass: message" to stderr if not ok; the exit code.
int ReportStatus(const Status& status);

}  // namespace onepass
