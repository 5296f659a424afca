#include "world/world.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "core/quote.h"
#include "world/documents.h"
#include "world/facts.h"

namespace onepass {
namespace {

// The streams of tasks never meet, whatever the seed.
Rng SampleRng(WorldTask task, Split split, uint64_t seed, int64_t index) {
  return Rng(seed)
      .Fork(static_cast<uint64_t>(task) * 16 + static_cast<uint64_t>(split))
      .Fork(static_cast<uint64_t>(index));
}

std::string Quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

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

}  // namespace

Result<WorldTask> ParseWorldTask(std::string_view name) {
  if (name == "compress-qa") return WorldTask::kCompressQa;
  if (name == "pretrain") return WorldTask::kPretrain;
  if (name == "own-formats") return WorldTask::kOwnFormats;
  return InvalidArgument("task: want compress-qa, pretrain or own-formats, found " + Quote(name));
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
  if (task == WorldTask::kCompressQa) {
    return InvalidArgument("format: want none for task compress-qa, found " + Quote(only_format));
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
  Rng rng = SampleRng(WorldTask::kCompressQa, split, seed, index);
  const int steps = rng.Chance(0.5) ? 2 : 1;
  while (true) {
    MicroWorldOptions options;
    options.split = split;
    options.person_count = static_cast<int>(rng.UniformInt(2, 3));
    options.company_count = 2;
    options.city_count = static_cast<int>(rng.UniformInt(2, 3));
    options.fact_count = static_cast<int>(rng.UniformInt(12, 16));
    const MicroWorld world = DrawMicroWorld(options, rng);
    Question question;
    if (world.facts.size() < 12 || !ChooseQuestion(world, steps, rng, question)) continue;
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
  std::string line = "{\"I_ALL\": " + Quoted(sample.shared_input) +
                     ", \"I_A\": " + Quoted(sample.documents) +
                     ", \"O_A\": " + Quoted(sample.summary);
  if (!sample.own_input_b.empty()) line += ", \"I_B\": " + Quoted(sample.own_input_b);
  line += ", \"O_B\": " + Quoted(sample.answer) + ", \"answers\": [";
  for (size_t i = 0; i < sample.answers.size(); ++i)
    line += (i == 0 ? "" : ", ") + Quoted(sample.answers[i]);
  return line + "], \"hops\": " + std::to_string(sample.hops) + "}";
}

std::string ToJson(const FormatSample& sample) {
  std::string line = "{\"format\": " + Quoted(sample.format) + ", \"parts\": [";
  for (size_t i = 0; i < sample.parts.size(); ++i) {
    const FormatPart& part = sample.parts[i];
    line += (i == 0 ? "[" : ", [") + Quoted(part.text) + (part.is_output ? ", 1, " : ", 0, ") +
            std::to_string(part.hops) + "]";
  }
  return line + "]}";
}

std::string WorldLine(const WorldOptions& options, int64_t index) {
  if (options.task == WorldTask::kCompressQa)
    return ToJson(MakeCompressQaSample(options.split, options.seed, index));
  Rng rng = SampleRng(options.task, options.split, options.seed, index);
  FormatOptions format_options;
  format_options.split = options.split;
  format_options.level = options.level;
  format_options.only_format = options.only_format;
  format_options.single_output = options.task == WorldTask::kOwnFormats;
  return ToJson(MakeFormatSample(format_options, rng));
}

}  // namespace onepass
