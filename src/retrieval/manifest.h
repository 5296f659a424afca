// bm25.json, by which an index's folder is known: what stands in it and how it was made.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"
#include "retrieval/bm25_index.h"

namespace onepass {

inline constexpr char kManifestFile[] = "bm25.json";
inline constexpr char kIndexDataFile[] = "bm25.glass";
inline constexpr int64_t kMaxManifestBytes = int64_t{64} << 10;

struct IndexManifest {
  Bm25Facts facts;  // facts.bytes: of the data file
  uint64_t data_hash = 0;
};

std::string ToJson(const IndexManifest& manifest);

// Whether `json` names our format, of whatever version.
bool IsManifest(std::string_view json);

// Strict: every key once, no others, each value of its type and range. Faults have no place in
// front. kInvalidArgument; kUnsupported: another version.
Result<IndexManifest> ParseManifest(std::string_view json);

// The hash and the size of an open file from its beginning: HashBytes (core/hash.h) of its blocks
// of 1 MiB, the last one shorter, each with the hash of those before as its seed. Leaves the file's
// offset alone. kIoError.
struct FileDigest {
  uint64_t hash = 0;
  int64_t bytes = 0;
};
Result<FileDigest> DigestFile(int fd);

}  // namespace onepass
