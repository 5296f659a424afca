// Retrieval by BM25: the documents of an index on disk that fit a text best. Lexical alone: words
// that are spelled alike. Not a query language: a query's operators, quotes and field names are
// words like any others. docs/formats/index.md has the folder, the formula and the tokenisation.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace onepass {

// A query is read up to here, and cut at a character's border.
inline constexpr int64_t kMaxQueryBytes = int64_t{64} << 10;
// Of a query's different words that documents hold, those in the fewest documents count.
inline constexpr int64_t kMaxQueryWords = 1024;

// The score of document d, of |d| words, is the sum over the words w of a query, each as often as
// it stands there, of
//   idf(w) * (k1 + 1) * f / (f + k1 * (1 - b + b * |d| / mean))
// f: occurrences of w in d; mean: of |d| over all documents. With N documents, n of them with w:
//   odds(w) = (N - n + 0.5) / (n + 0.5)
//   idf(w)  = ln(odds(w)) where odds(w) >= 2, else ln(1 + odds(w) / 2): always above 0
// Robertson and Sparck Jones' formula; Xapian's floor for the idf of common words.
struct Bm25Weights {
  double k1 = 1.2;  // 0 to 1000; 0: a word's occurrences in a document do not count, only that it
                    // is there
  double b = 0.75;  // 0 to 1; 0: a document's length does not count

  // kInvalidArgument: "k1: want a number from 0 to 1000, found -1".
  Status Validate() const;
};

// What an index says of itself. Plain data.
struct Bm25Facts {
  int64_t documents = 0;
  int64_t words = 0;    // of all documents, repeated ones too
  Bm25Weights weights;  // of a search that does not say others
  std::string stem;     // the language whose endings are cut off; empty: none
  int64_t bytes = 0;    // of the data file
};

struct Bm25SearchOptions {
  int64_t top = 5;           // most hits; 0: none
  std::optional<double> k1;  // in place of the index's own
  std::optional<double> b;
};

struct Hit {
  std::string id;
  double score = 0;   // Bm25Weights; above 0
  std::string title;  // empty where the document has none
  std::string text;
};

// An index, open for reading. It goes on answering from what it opened when another is put in its
// place. Thread-compatible: one search at a time. Not copyable; several may be open on one folder.
class Bm25Index {
 public:
  // Reads the data file once, for its checksum. kNotFound: nothing stands there. kInvalidArgument:
  // not an index, or a damaged one. kUnsupported: of another version. kIoError.
  // The checksum finds damage, not malice: open only what was built by someone you trust.
  static Result<std::unique_ptr<Bm25Index>> Open(const std::string& folder);
  ~Bm25Index();
  Bm25Index(const Bm25Index&) = delete;
  Bm25Index& operator=(const Bm25Index&) = delete;

  const Bm25Facts& facts() const;

  // The `top` documents of the highest scores, best first; equal scores in the documents' order.
  // None hold a word of the query: no hits. The query may be any bytes; what is no UTF-8 is read as
  // Latin-1. kInvalidArgument: the options, or a damaged index. kIoError.
  Result<std::vector<Hit>> Search(std::string_view query, const Bm25SearchOptions& options = {});

 private:
  struct Impl;
  explicit Bm25Index(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace onepass
