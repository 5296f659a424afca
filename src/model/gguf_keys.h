// Typed look-ups of a GGUF file's values under its architecture's name, for reading a config. The
// first fault is kept; what is read after it is of no use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/status.h"
#include "format/gguf.h"

namespace onepass {

// Keys are given without "ARCHITECTURE.". The file must outlive it. Thread-compatible.
class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, const std::string& architecture)
      : file_(file), prefix_(architecture + ".") {}

  const Status& fault() const { return fault_; }
  bool Has(std::string_view key) const { return file_.metadata().contains(Name(key)); }

  // Without if_absent the key must be there.
  int64_t Int(std::string_view key, int64_t low, int64_t high, std::optional<int64_t> if_absent);
  // A number from 1 on, or a list with one number a layer, all the same.
  int64_t IntOfAllLayers(std::string_view key, int64_t high, std::optional<int64_t> if_absent);
  // A finite number above 0.
  double Positive(std::string_view key, double high, std::optional<double> if_absent);
  std::string Text(std::string_view key, const std::string& if_absent);

  // What stands there is wrong, or nothing that the program can do.
  void Fail(std::string_view key, const std::string& wanted);
  void FailSupport(std::string_view key, const std::string& wanted);

 private:
  std::string Name(std::string_view key) const { return prefix_ + std::string(key); }
  void Keep(const Status& status) {
    if (fault_.ok()) fault_ = status;
  }

  const GgufFile& file_;
  std::string prefix_;
  Status fault_;
};

}  // namespace onepass
