// Texts of the generated world: what a base is judged on where no other text is given.
#pragma once

#include <cstdint>
#include <string>

namespace onepass {

// At least so many bytes of whole samples of every format; always the same.
std::string WorldText(int64_t bytes);

}  // namespace onepass
