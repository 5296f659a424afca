// The program: one subcommand a file, each turning flags into structs and nothing else.
#include <cstdio>

#include "commands.h"

namespace onepass {

int ReportStatus(const Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "onepass: %s\n", status.message().c_str());
  return 1;
}

}  // namespace onepass

int main(int argc, char** argv) {
  CLI::App app{"onepass: chains of soft-prompted language models that hand their KV over"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "onepass 0.1.0");
  int exit_code = 0;
  onepass::AddInspectCommand(app, &exit_code);
  onepass::AddInitBaseCommand(app, &exit_code);
  onepass::AddTokenizeCommand(app, &exit_code);
  onepass::AddDataCommand(app, &exit_code);
  onepass::AddRunCommand(app, &exit_code);
  onepass::AddTrainCommand(app, &exit_code);
  onepass::AddEvalCommand(app, &exit_code);
  onepass::AddBenchCommand(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }
  return exit_code;
}
