// The random streams of the world's samples: those of two tasks never meet, whatever the seed.
#pragma once

#include <cstdint>

#include "core/rng.h"
#include "world/vocabulary.h"

namespace onepass {

// The numbers are part of every file that was ever made; new ones come last.
enum class Stream { kCompressQa, kPretrain, kOwnFormats, kRewriteQa, kMemoryReasoning, kActiveRag };

inline Rng SampleRng(Stream stream, Split split, uint64_t seed, int64_t index) {
  return Rng(seed)
      .Fork(static_cast<uint64_t>(stream) * 16 + static_cast<uint64_t>(split))
      .Fork(static_cast<uint64_t>(index));
}

}  // namespace onepass
