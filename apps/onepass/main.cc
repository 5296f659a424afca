// The program: one subcommand a file, each turning flags into structs and nothing else.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "commands.h"
#include "core/check.h"
#include "core/quote.h"

namespace onepass {

int ReportStatus(const Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "onepass: %s\n", status.message().c_str());
  return 1;
}

void CheckUsage(const Status& status) {
  if (!status.ok()) throw UsageError{status};
}

}  // namespace onepass

namespace {

// A full disk, a file-size limit or a closed pipe are faults that a call returns, with a message of
// ours; none of them may kill the process half-way through a file.
void IgnoreSignalsThatCallsReport() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

// A fault of usage in one line, whatever stands in the arguments that it quotes.
std::string UsageLine(const CLI::App* app, const CLI::Error& error) {
  std::string line = std::string("onepass: ") + error.what();
  // What is missing may only be misspelt.
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    const std::vector<std::string> unknown = app->remaining(/*recurse=*/true);
    if (!unknown.empty()) line += ", found " + onepass::Quote(unknown.front());
  }
  std::ranges::replace_if(
      line, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return line + " (--help lists what there is)\n";
}

// 0, or 1 where what was printed could not all be written.
int FlushOutput() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  std::perror("onepass: standard output");
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  IgnoreSignalsThatCallsReport();
  std::set_new_handler([] { onepass::EndOutOfMemory(0); });
  CLI::App app{"onepass: chains of soft-prompted language models that hand their KV over"};
  app.require_subcommand(1);
  app.failure_message(UsageLine);
  app.set_version_flag("--version", "onepass " ONEPASS_VERSION);
  int exit_code = 0;
  onepass::AddInspectCommand(app, &exit_code);
  onepass::AddInitBaseCommand(app, &exit_code);
  onepass::AddConvertCommand(app, &exit_code);
  onepass::AddTokenizeCommand(app, &exit_code);
  onepass::AddDataCommand(app, &exit_code);
  onepass::AddIndexCommand(app, &exit_code);
  onepass::AddRunCommand(app, &exit_code);
  onepass::AddTrainCommand(app, &exit_code);
  onepass::AddKvCommand(app, &exit_code);
  onepass::AddEvalCommand(app, &exit_code);
  onepass::AddServeCommand(app, &exit_code);
  onepass::AddBenchCommand(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? FlushOutput() : 2;
  } catch (const onepass::UsageError& e) {
    onepass::ReportStatus(e.status);
    return 2;
  } catch (const std::exception& e) {
    // What libraries throw where there is no other way to say it: output that cannot be written.
    std::fprintf(stderr, "onepass: %s\n", e.what());
    return 1;
  }
  const int flushed = FlushOutput();
  return exit_code != 0 ? exit_code : flushed;
}
