// Flags that replace parts of a chain, for every command that runs one.
#pragma once

#include <string>

#include "chain/spec.h"
#include "core/status.h"

namespace onepass {

// "STAGE.prompt=DIR", DIR as the shell sees it.
Status SetPrompt(const std::string& setting, ChainSpec* spec);

}  // namespace onepass
