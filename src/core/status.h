// Status and Result<T>: how faults that are not ours (a file, a spec, a request, scarcity) travel
// up. A message is one line: place, what was wanted, what was found. Our own bugs are CHECKs
// (check.h). Values are cheap to move; thread-compatible.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "core/check.h"

namespace onepass {

enum class StatusCode {
  kOk,
  kInvalidArgument,  // the caller's file, spec or record is wrong
  kNotFound,         // a file or a name does not exist
  kUnsupported,      // well-formed, but not something this program can do
  kExhausted,        // scarcity: pages, a queue; trying again later may work
  kDeadline,         // it took longer than it may
  kUnavailable,      // what would do it is being stopped
  kIoError,          // the operating system refused (disk full, permission)
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return Status(); }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same fault with "prefix: " in front of its message; ok stays ok.
  Status WithPrefix(const std::string& prefix) const {
    return ok() ? *this : Status(code_, prefix + ": " + message_);
  }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string m) {
  return {StatusCode::kInvalidArgument, std::move(m)};
}
inline Status NotFound(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
inline Status Unsupported(std::string m) { return {StatusCode::kUnsupported, std::move(m)}; }
inline Status Exhausted(std::string m) { return {StatusCode::kExhausted, std::move(m)}; }
inline Status DeadlineExceeded(std::string m) { return {StatusCode::kDeadline, std::move(m)}; }
inline Status Unavailable(std::string m) { return {StatusCode::kUnavailable, std::move(m)}; }
inline Status IoError(std::string m) { return {StatusCode::kIoError, std::move(m)}; }

// A value, or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    ONEPASS_CHECK(!status_.ok(), "a Result without a value needs a fault");
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  // REQUIRES: ok().
  T& value() & {
    ONEPASS_CHECK(ok(), status_.message());
    return *value_;
  }
  const T& value() const& {
    ONEPASS_CHECK(ok(), status_.message());
    return *value_;
  }
  T&& value() && {
    ONEPASS_CHECK(ok(), status_.message());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace onepass

#define ONEPASS_CONCAT_INNER(a, b) a##b
#define ONEPASS_CONCAT(a, b) ONEPASS_CONCAT_INNER(a, b)

// Returns the fault of `expr` (a Status) from the enclosing function.
#define RETURN_IF_ERROR(expr)                                \
  do {                                                       \
    if (::onepass::Status status_ = (expr); !status_.ok()) { \
      return status_;                                        \
    }                                                        \
  } while (false)

// ASSIGN_OR_RETURN(auto x, F()): x = the value of F()'s Result, or returns its fault.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(ONEPASS_CONCAT(result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                          \
  if (!result.ok()) {                            \
    return result.status();                      \
  }                                              \
  lhs = std::move(result).value()
