// onepass serve: chains, their stages and the base behind an OpenAI-compatible API.
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "commands.h"
#include "kernels/registry.h"
#include "serve/server.h"

namespace onepass {
namespace {

struct ServeFlags {
  std::vector<std::string> chains;
  std::string kv = "f32";
  double read_seconds = 30, write_seconds = 30, request_seconds = 300, drain_seconds = 60;
  ServeOptions options;
};

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3));
}

// Each connection is a descriptor: as many as the system lets us have.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

Status Serve(const ServeFlags& flags) {
  ServeOptions options = flags.options;
  for (const std::string& setting : flags.chains) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      CheckUsage(InvalidArgument("--chain: want NAME=CHAIN.yaml, found " + setting));
    }
    options.catalog.chains.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  ASSIGN_OR_RETURN(options.engine.scheduler.kv_dtype, ParseKvType(flags.kv));
  options.http.read_timeout = Milliseconds(flags.read_seconds);
  options.http.write_timeout = Milliseconds(flags.write_seconds);
  options.api.max_request_time = Milliseconds(flags.request_seconds);
  options.drain_time = Milliseconds(flags.drain_seconds);
  options.api.version = ONEPASS_VERSION;
  RaiseDescriptorLimit();
  ASSIGN_OR_RETURN(const std::unique_ptr<ChainServer> server, ChainServer::Start(options));
  std::printf("onepass: serving on http://%s\n", server->address().c_str());
  for (const auto& model : server->catalog().models()) std::printf("  %s\n", model->id().c_str());
  std::fflush(stdout);
  // From here on, what asks for memory that is not there is ended by what that throws.
  std::set_new_handler(nullptr);
  server->Run({SIGTERM, SIGINT});
  return Status::Ok();
}

}  // namespace

void AddServeCommand(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand(
      "serve", "Serve chains, their stages and the base behind an OpenAI-compatible API");
  auto flags = std::make_shared<ServeFlags>();
  ServeOptions& options = flags->options;
  SchedulerOptions& scheduler = options.engine.scheduler;
  command->add_option("--chain", flags->chains, "NAME=CHAIN.yaml: a chain to serve, several times");
  command->add_option("--model", options.catalog.base,
                      "The base, a folder or a GGUF file (default: the chains' own)");
  command->add_option("--model-name", options.catalog.base_name, "The base's name in the API")
      ->capture_default_str();
  command->add_option("--index", options.catalog.indexes, "TOOL=FOLDER: another index for a tool");
  command->add_option("--host", options.http.host, "Address to listen on")->capture_default_str();
  command->add_option("--port", options.http.port, "Port; 0: any that is free")
      ->capture_default_str();
  command->add_option("--allow-host", options.api.hosts,
                      "A name that requests may have for the server, several times (default on "
                      "loopback: localhost and addresses alone)");
  command->add_option("--api-key-file", options.api_key_file,
                      "Keys that open the API, one a line (default: it is open)");
  command->add_option("--log-file", options.log_file, "JSON lines (default: standard error)");

  command->add_option("--kv", flags->kv, "What KV is stored in: f32, bf16 or int8")
      ->check(ParsedBy(ParseKvType))
      ->capture_default_str();
  command->add_option("--max-kv-bytes", scheduler.max_kv_bytes, "Bytes of KV pages")
      ->check(Positive())
      ->capture_default_str();
  command->add_option("--page-tokens", scheduler.page_tokens, "Tokens a page")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--max-running", scheduler.max_running, "Most runs in the batch")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      ->add_option("--prefill-rows", scheduler.prefill_rows,
                   "Most input tokens in a step, so that long inputs hold no output up")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command
      ->add_option("--max-waiting", options.engine.max_waiting,
                   "Most runs that wait; more are answered with 429")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();

  const CLI::Range seconds(0.001, 86400.0);
  command->add_option("--max-connections", options.http.max_connections, "Most open connections")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option("--max-body-bytes", options.http.max_body_bytes, "Largest request")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->capture_default_str();
  command
      ->add_option("--max-total-body-bytes", options.http.max_total_body_bytes,
                   "Of all requests that are read or answered; more are answered with 503")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
  command
      ->add_option("--read-seconds", flags->read_seconds,
                   "For a request to arrive, and between two on a connection")
      ->check(seconds)
      ->capture_default_str();
  command->add_option("--write-seconds", flags->write_seconds, "For a client to take what is sent")
      ->check(seconds)
      ->capture_default_str();
  command->add_option("--request-seconds", flags->request_seconds, "For a request's whole answer")
      ->check(seconds)
      ->capture_default_str();
  command
      ->add_option("--drain-seconds", flags->drain_seconds,
                   "After SIGTERM, for what runs; a second SIGTERM stops at once")
      ->check(seconds)
      ->capture_default_str();

  command->add_option("--backend", options.base.backend, "Kernels")
      ->check(CLI::IsMember(BackendNames()));
  command->add_option("--threads", options.base.thread_count, "0: one per hardware thread")
      ->check(CLI::Range(0, 1024));
  command->add_flag("--bf16", options.base.bf16, "Round F32 and F16 matrices to BF16 at loading");
  command->callback([flags, exit_code] { *exit_code = ReportStatus(Serve(*flags)); });
}

}  // namespace onepass
