// One JSON line an event, to a file or to standard error. A log that cannot be written (a full
// disk, a pipe that nobody reads) loses lines, counts them, and never disturbs the server. What it
// never gets: prompts, answers, keys, file names.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "core/status.h"

namespace onepass {

// Thread-compatible. Not copyable.
class EventLog {
 public:
  // path: appended to; empty: standard error. kIoError.
  static Result<std::unique_ptr<EventLog>> Open(const std::string& path);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // level: "info", "warning", "error". The time and what was lost are added.
  void Write(const char* level, const char* event, nlohmann::ordered_json facts = {});
  int64_t lost() const { return lost_; }

 private:
  explicit EventLog(int fd, bool owned) : fd_(fd), owned_(owned) {}
  bool TakesALine() const;

  int fd_;
  bool owned_;
  int64_t lost_ = 0;
  int64_t lost_told_ = 0;
  bool torn_ = false;  // the file ends with part of a line
};

}  // namespace onepass
