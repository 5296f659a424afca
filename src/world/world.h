// The synthetic world's samples: what `onepass data world` writes.
// Sample i of (task, split, seed) depends on nothing else, so a longer file begins with the shorter
// one. Thread-compatible; no state is kept between calls.
//
// Three kinds of file:
// * The chains' tasks in the authors' format. compress-qa: half of the questions need one fact,
// half
//   two; four or five documents hold 12 to 16 sentences, among them others of the same relation.
//   rewrite-qa, memory-reasoning, active-rag: see their headers.
// * The documents from which rewrite-qa and active-rag of the same split and seed retrieve.
// * FormatSample: a text in one of many plain formats on which the base is pretrained (formats.h).
//
// Every generated output (summary, answer) begins with a space: a byte-level vocabulary then needs
// one token for a word wherever it stands. So does every input that could begin with a name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "world/corpus.h"
#include "world/formats.h"
#include "world/vocabulary.h"

namespace onepass {

enum class WorldTask {
  kCompressQa,
  kRewriteQa,
  kMemoryReasoning,
  kActiveRag,
  kCorpus,
  kPretrain,
  kOwnFormats
};

// What `onepass data world` was asked for.
struct WorldOptions {
  WorldTask task = WorldTask::kCompressQa;
  Split split = Split::kTrain;
  int64_t count = 1000;  // of a corpus: not used, it is written whole
  uint64_t seed = 1;
  int level = 3;            // pretraining formats only: 1 short texts, 2 middle, 3 all
  std::string only_format;  // pretraining formats only: a name of formats.h; empty: the mix

  Status Validate() const;
};

std::string_view TaskName(WorldTask task);
// kInvalidArgument names those that exist.
Result<WorldTask> ParseWorldTask(std::string_view name);
Result<Split> ParseSplit(std::string_view name);

// Keys as in the authors' files.
struct CompressQaSample {
  std::string shared_input;  // I_ALL: the question
  std::string documents;     // I_A
  std::string
      summary;         // O_A: the one or two supporting facts, canonical, in the order of reasoning
  std::string answer;  // O_B
  std::vector<std::string> answers;  // accepted answers, without the leading space
  int hops = 1;
};

CompressQaSample MakeCompressQaSample(Split split, uint64_t seed, int64_t index);

// One line of JSON, without the newline.
std::string ToJson(const CompressQaSample& sample);
// Of a format sample: {"format": name, "parts": [[text, 1 for an output else 0, hops], ...]}.
std::string ToJson(const FormatSample& sample);

// Of a document of a corpus.
std::string ToJson(const CorpusDocument& document);

// The file that the options describe. Immutable; keeps the corpus of tasks that have one.
class WorldFile {
 public:
  // REQUIRES: options.Validate() is ok.
  explicit WorldFile(const WorldOptions& options);

  int64_t LineCount() const;
  // JSON without the newline. REQUIRES: 0 <= index < LineCount().
  std::string Line(int64_t index) const;

 private:
  WorldOptions options_;
  std::optional<Corpus> corpus_;
};

}  // namespace onepass
