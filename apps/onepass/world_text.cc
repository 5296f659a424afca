#include "world_text.h"

#include "world/formats.h"

namespace onepass {

std::string WorldText(int64_t bytes) {
  Rng rng(1);
  std::string text;
  while (std::ssize(text) < bytes) {
    for (const FormatPart& part : MakeFormatSample({.split = Split::kTest}, rng).parts) {
      text += part.text;
    }
    text += "\n";
  }
  return text;
}

}  // namespace onepass
