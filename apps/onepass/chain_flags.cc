#include "chain_flags.h"

#include "core/quote.h"

namespace onepass {

Status SetPrompt(const std::string& setting, ChainSpec* spec) {
  const size_t equals = setting.find('=');
  constexpr std::string_view kKey = ".prompt";
  const std::string left = setting.substr(0, equals);
  if (equals == std::string::npos || !left.ends_with(kKey)) {
    return InvalidArgument("--set: want STAGE.prompt=DIR, found " + Quote(setting));
  }
  const std::string name = left.substr(0, left.size() - kKey.size());
  std::string names;
  for (StageSpec& stage : spec->stages) {
    if (stage.name == name) {
      stage.prompt = setting.substr(equals + 1);
      return Status::Ok();
    }
    names += (names.empty() ? "" : ", ") + stage.name;
  }
  return InvalidArgument("--set: want one of the stages " + names + ", found " + Quote(name));
}

}  // namespace onepass
