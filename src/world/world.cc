#include "world/world.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string_view>

#include "core/quote.h"
#include "world/active_rag.h"
#include "world/documents.h"
#include "world/facts.h"
#include "world/json_line.h"
#include "world/memory_reasoning.h"
#include "world/rewrite_qa.h"
#include "world/streams.h"

namespace onepass {
namespace {

// A question of this many steps whose facts all have distractors; false if the world has none.
bool ChooseQuestion(const MicroWorld& world, int steps, Rng& rng, Question& chosen) {
  for (Question& question : DrawQuestions(world, steps, rng)) {
    const auto distracted = [&](const Fact& fact) { return HasDistractor(world, fact); };
    if (std::all_of(question.support.begin(), question.support.end(), distracted)) {
      chosen = std::move(question);
      return true;
    }
  }
  return false;
}

struct NamedTask {
  std::string_view name;
  WorldTask task;
};

constexpr NamedTask kTasks[] = {{"compress-qa", WorldTask::kCompressQa},
                                {"rewrite-qa", WorldTask::kRewriteQa},
                                {"memory-reasoning", WorldTask::kMemoryReasoning},
                                {"active-rag", WorldTask::kActiveRag},
                                {"corpus", WorldTask::kCorpus},
                                {"pretrain", WorldTask::kPretrain},
                                {"own-formats", WorldTask::kOwnFormats}};

bool IsOfFormats(WorldTask task) {
  return task == WorldTask::kPretrain || task == WorldTask::kOwnFormats;
}

std::string FormatLine(const WorldOptions& options, int64_t index) {
  const bool scored = options.task == WorldTask::kOwnFormats;
  Rng rng = SampleRng(scored ? Stream::kOwnFormats : Stream::kPretrain, options.split, options.seed,
                      index);
  FormatOptions format_options;
  format_options.split = options.split;
  format_options.level = options.level;
  format_options.only_format = options.only_format;
  format_options.single_output = scored;
  return ToJson(MakeFormatSample(format_options, rng));
}

}  // namespace

std::string_view TaskName(WorldTask task) {
  for (const NamedTask& named : kTasks) {
    if (named.task == task) return named.name;
  }
  return "?";
}

Result<WorldTask> ParseWorldTask(std::string_view name) {
  std::string wanted;
  for (const NamedTask& named : kTasks) {
    if (named.name == name) return named.task;
    const bool last = &named == std::end(kTasks) - 1;
    wanted.append(wanted.empty() ? "" : last ? " or " : ", ").append(named.name);
  }
  return InvalidArgument("task: want " + wanted + ", found " + Quote(name));
}

Result<Split> ParseSplit(std::string_view name) {
  for (const Split split : {Split::kPretrain, Split::kTrain, Split::kValidation, Split::kTest}) {
    if (SplitName(split) == name) return split;
  }
  return InvalidArgument("split: want pretrain, train, validation or test, found " + Quote(name));
}

Status WorldOptions::Validate() const {
  if (count < 1) {
    return InvalidArgument("count: want at least 1, found " + std::to_string(count));
  }
  if (level < 1 || level > 3) {
    return InvalidArgument("level: want 1, 2 or 3, found " + std::to_string(level));
  }
  if ((task == WorldTask::kPretrain) != (split == Split::kPretrain)) {
    return InvalidArgument("split: want pretrain for task pretrain and no other, found " +
                           std::string(SplitName(split)));
  }
  if (only_format.empty()) return Status::Ok();
  if (!IsOfFormats(task)) {
    return InvalidArgument("format: want none for task " + std::string(TaskName(task)) +
                           ", found " + Quote(only_format));
  }
  std::string wanted;
  for (const std::string& name : FormatNames()) {
    // Own formats are scored: a sample needs an output.
    if (task == WorldTask::kOwnFormats && name == "bare") continue;
    if (name == only_format) return Status::Ok();
    wanted += (wanted.empty() ? "" : ", ") + name;
  }
  return InvalidArgument("format: want one of " + wanted + ", found " + Quote(only_format));
}

CompressQaSample MakeCompressQaSample(Split split, uint64_t seed, int64_t index) {
  Rng rng = SampleRng(Stream::kCompressQa, split, seed, index);
  const int steps = rng.Chance(0.5) ? 2 : 1;
  while (true) {
    const MicroWorld world = DrawDocumentWorld(split, rng);
    Question question;
    if (!ChooseQuestion(world, steps, rng, question)) continue;
    const std::vector<Document> documents =
        WriteDocuments(world, static_cast<int>(rng.UniformInt(4, 5)), rng);
    if (documents.size() < 4) continue;
    CompressQaSample sample;
    sample.shared_input = question.text;
    sample.documents = JoinDocuments(documents);
    sample.summary = WriteSummary(question.support);
    sample.answer = ' ' + question.answer;
    sample.answers = {question.answer};
    sample.hops = steps;
    return sample;
  }
}

std::string ToJson(const CompressQaSample& sample) {
  JsonLine line;
  line.Add("I_ALL", sample.shared_input).Add("I_A", sample.documents).Add("O_A", sample.summary);
  return line.Add("O_B", sample.answer)
      .Add("answers", sample.answers)
      .Add("hops", sample.hops)
      .Text();
}

std::string ToJson(const FormatSample& sample) {
  std::string parts = "[";
  for (const FormatPart& part : sample.parts) {
    parts += (parts.size() == 1 ? "[" : ", [") + JsonString(part.text) +
             (part.is_output ? ", 1, " : ", 0, ") + std::to_string(part.hops) + ']';
  }
  return JsonLine().Add("format", sample.format).AddJson("parts", parts + ']').Text();
}

std::string ToJson(const CorpusDocument& document) {
  return JsonLine()
      .Add("id", document.id)
      .Add("title", document.title)
      .Add("text", document.text)
      .Text();
}

WorldFile::WorldFile(const WorldOptions& options) : options_(options) {
  const WorldTask task = options.task;
  if (task == WorldTask::kRewriteQa || task == WorldTask::kActiveRag || task == WorldTask::kCorpus)
    corpus_.emplace(options.split, options.seed);
}

int64_t WorldFile::LineCount() const {
  return options_.task == WorldTask::kCorpus ? static_cast<int64_t>(corpus_->documents().size())
                                             : options_.count;
}

std::string WorldFile::Line(int64_t index) const {
  const Split split = options_.split;
  const uint64_t seed = options_.seed;
  switch (options_.task) {
    case WorldTask::kCompressQa:
      return ToJson(MakeCompressQaSample(split, seed, index));
    case WorldTask::kRewriteQa:
      return ToJson(MakeRewriteQaSample(*corpus_, split, seed, index));
    case WorldTask::kMemoryReasoning:
      return ToJson(MakeMemoryReasoningSample(split, seed, index));
    case WorldTask::kActiveRag:
      return ToJson(MakeActiveRagSample(*corpus_, split, seed, index));
    case WorldTask::kCorpus:
      return ToJson(corpus_->documents()[static_cast<size_t>(index)]);
    case WorldTask::kPretrain:
    case WorldTask::kOwnFormats:
      return FormatLine(options_, index);
  }
  return "";
}

}  // namespace onepass
