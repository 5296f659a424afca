// Builds an index for Bm25Index from documents that come one at a time. The index appears whole or
// not at all, and takes the place of an older one in one step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/status.h"
#include "retrieval/bm25_index.h"

namespace onepass {

// One document. All UTF-8.
struct IndexDocument {
  std::string id;     // 1 to 1024 bytes; unique in an index
  std::string text;   // may be empty: found by its title, or never
  std::string title;  // optional; searched together with the text
  int64_t line = 0;   // where it stands in its file, for messages; 0: not said
};

// Most bytes of a document's id, title and text together.
inline constexpr int64_t kMaxDocumentBytes = int64_t{32} << 20;

struct Bm25BuildProgress {
  int64_t documents = 0;  // added
  bool writing = false;   // all are there; the data file is being written
};

struct Bm25BuildOptions {
  Bm25Weights weights;  // what searches use that do not say others
  std::string stem;     // a language of StemLanguages(); empty: words stay as they are
  // Called after every 1000th document and when writing begins, from the calling thread.
  std::function<void(const Bm25BuildProgress&)> on_progress;

  Status Validate() const;
};

// The languages that `stem` may name, with ", " between them.
std::string StemLanguages();

// Thread-compatible. Not copyable. Holds the ids of all documents in memory, and the words of
// at most 64 MiB of text; the rest is on disk, in a folder beside the target.
class Bm25IndexBuilder {
 public:
  // Makes "FOLDER.tmp-PID-N" and the folders that lead there; removes those that killed builds of
  // FOLDER left. kInvalidArgument: the options, or FOLDER is neither absent, an empty folder nor an
  // index. kIoError.
  static Result<std::unique_ptr<Bm25IndexBuilder>> Create(const std::string& folder,
                                                          const Bm25BuildOptions& options = {});
  // Without Finish() removes all that was written; what stood at FOLDER stays.
  ~Bm25IndexBuilder();
  Bm25IndexBuilder(const Bm25IndexBuilder&) = delete;
  Bm25IndexBuilder& operator=(const Bm25IndexBuilder&) = delete;

  // kInvalidArgument concerns this document alone, which is left out: "document 7 (line 9): ...",
  // where the number counts the calls. An id that was there before names both. After kIoError (a
  // full disk) every later call fails with the same.
  Status Add(const IndexDocument& document);

  // Writes the index and puts it in its place. To be called once, last.
  // kInvalidArgument: no documents, or FOLDER has become something that is no index. kIoError.
  Result<Bm25Facts> Finish();

 private:
  struct Impl;
  explicit Bm25IndexBuilder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace onepass
