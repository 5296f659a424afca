// For tests: the base that ships.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"

namespace onepass {

inline std::unique_ptr<Base> LoadRealBase(const std::string& backend, int threads) {
  Result<std::unique_ptr<Base>> base =
      LoadBase(ONEPASS_SOURCE_DIR "/models/base", {.backend = backend, .thread_count = threads});
  ONEPASS_CHECK(base.ok(), base.status().message());
  return std::move(base).value();
}

}  // namespace onepass
