#include "serve/event_log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "chain/result_json.h"

namespace onepass {

Result<std::unique_ptr<EventLog>> EventLog::Open(const std::string& path) {
  if (path.empty()) return std::unique_ptr<EventLog>(new EventLog(STDERR_FILENO, false));
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0640);
  if (fd < 0) return IoError("log file: " + std::string(std::strerror(errno)) + " (" + path + ")");
  return std::unique_ptr<EventLog>(new EventLog(fd, true));
}

EventLog::~EventLog() {
  if (owned_) ::close(fd_);
}

// A pipe that nobody reads is full, and a write to it would wait; it says that it is writable while a
// line fits. Files always do.
bool EventLog::TakesALine() const {
  pollfd out{.fd = fd_, .events = POLLOUT, .revents = 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
}

void EventLog::Write(const char* level, const char* event, nlohmann::ordered_json facts) {
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  nlohmann::ordered_json json;
  json["time"] = fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03d}Z",
                             fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)),
                             (now - seconds).count());
  json["level"] = level;
  json["event"] = event;
  for (auto& [key, value] : facts.items()) json[key] = std::move(value);
  if (lost_ > lost_told_) json["lines_lost"] = lost_;
  const std::string line = (torn_ ? "\n" : "") + JsonLine(json) + "\n";
  // One write a line, so that lines of several processes do not mix.
  const ssize_t written = TakesALine() ? ::write(fd_, line.data(), line.size()) : -1;
  if (written == std::ssize(line)) {
    lost_told_ = lost_;
    torn_ = false;
  } else {
    ++lost_;
    torn_ = torn_ || written > 0;
  }
}

}  // namespace onepass
