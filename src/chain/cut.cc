#include "chain/cut.h"

#include "core/utf8.h"

namespace onepass {

Result<std::optional<size_t>> CutToFit(std::string_view text, size_t guess,
                                       const std::function<Result<bool>(std::string_view)>& fits) {
  ASSIGN_OR_RETURN(const bool empty_fits, fits(text.substr(0, 0)));
  if (!empty_fits) return std::optional<size_t>();
  size_t kept = 0;
  size_t low = 0;  // no character border lies between `kept` and it
  size_t high = text.size();
  while (high - low > 1) {
    const size_t size = guess > low && guess < high ? guess : low + (high - low) / 2;
    const size_t border = CharacterBorder(text, size);
    if (border <= kept) {
      low = size;
      continue;
    }
    ASSIGN_OR_RETURN(const bool prefix_fits, fits(text.substr(0, border)));
    if (prefix_fits) {
      kept = low = border;
      guess *= 2;
    } else {
      high = border;
      guess = 0;
    }
  }
  return std::optional(kept);
}

}  // namespace onepass
