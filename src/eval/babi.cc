#include "eval/babi.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "core/quote.h"
#include "core/utf8.h"

namespace onepass {
namespace {

constexpr int64_t kSplitQuestions = 100;
constexpr int64_t kMaxStoryLines = 4096;

struct Sentence {
  int64_t id = 0;
  std::string_view text;
};

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\r')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

// A positive decimal number without sign; 0 if it is none.
int64_t ParseId(std::string_view text) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 1) return 0;
  return id;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  while (true) {
    const size_t end = text.find(separator);
    pieces.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

// Ids of the supporting sentences, each once, in the file's order.
Result<std::vector<int64_t>> ParseSupport(std::string_view text,
                                          const std::vector<Sentence>& story) {
  std::vector<int64_t> ids;
  for (const std::string_view piece : Split(text, ' ')) {
    if (piece.empty()) continue;
    const int64_t id = ParseId(piece);
    const bool known = std::any_of(story.begin(), story.end(),
                                   [&](const Sentence& sentence) { return sentence.id == id; });
    if (!known) {
      return InvalidArgument("want ids of sentences before the question, found " +
                             Quote(piece, 40));
    }
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  if (ids.empty()) return InvalidArgument("want ids of supporting sentences, found none");
  return ids;
}

Result<BabiSample> MakeSample(const std::vector<std::string_view>& fields,
                              const std::vector<Sentence>& story, const BabiOptions& options) {
  BabiSample sample;
  sample.task = options.task;
  const std::string_view answer = Trim(fields[1]);
  sample.question = Trim(fields[0]);
  if (sample.question.empty() || answer.empty()) {
    return InvalidArgument("want a question and an answer, found an empty one");
  }
  sample.answer = fmt::format(" {}", answer);
  ASSIGN_OR_RETURN(const std::vector<int64_t> support, ParseSupport(Trim(fields[2]), story));
  const auto count = static_cast<int64_t>(story.size());
  const int64_t kept = options.last_sentences > 0 ? std::min(options.last_sentences, count) : count;
  for (int64_t i = count - kept; i < count; ++i) {
    sample.story.append(" ").append(story[static_cast<size_t>(i)].text);
  }
  for (const int64_t id : support) {
    const auto sentence = std::find_if(story.begin(), story.end(),
                                       [&](const Sentence& other) { return other.id == id; });
    sample.facts.push_back(fmt::format(" {}", sentence->text));
  }
  return sample;
}

// Where the split's questions stand among `count`.
std::pair<int64_t, int64_t> RangeOf(BabiSplit split, int64_t count) {
  switch (split) {
    case BabiSplit::kTrain:
      return {0, count - 2 * kSplitQuestions};
    case BabiSplit::kValidation:
      return {count - 2 * kSplitQuestions, count - kSplitQuestions};
    case BabiSplit::kTest:
      break;
  }
  return {count - kSplitQuestions, count};
}

}  // namespace

Result<BabiSplit> ParseBabiSplit(std::string_view name) {
  if (name == "train") return BabiSplit::kTrain;
  if (name == "validation") return BabiSplit::kValidation;
  if (name == "test") return BabiSplit::kTest;
  return InvalidArgument("split: want train, validation or test, found " + Quote(name));
}

Status BabiOptions::Validate() const {
  if (task < 1 || task > 20) {
    return InvalidArgument(fmt::format("task: want 1 to 20, found {}", task));
  }
  if (last_sentences < 0) {
    return InvalidArgument(fmt::format("last-sentences: want >= 0, found {}", last_sentences));
  }
  return Status::Ok();
}

Result<std::vector<BabiSample>> ReadBabi(std::string_view text, const std::string& file,
                                         const BabiOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  // The first pass only counts, so that no sample outside the split is ever built.
  int64_t question_count = 0;
  for (const std::string_view line : Split(text, '\n')) {
    question_count += line.find('\t') != std::string_view::npos ? 1 : 0;
  }
  if (question_count < 3 * kSplitQuestions) {
    return InvalidArgument(fmt::format("babi: want at least {} questions, found {} ({})",
                                       3 * kSplitQuestions, question_count, file));
  }
  const auto [begin, end] = RangeOf(options.split, question_count);

  std::vector<BabiSample> samples;
  std::vector<Sentence> story;
  int64_t last_id = 0;
  int64_t line_number = 0;
  int64_t question_number = 0;
  for (std::string_view line : Split(text, '\n')) {
    ++line_number;
    line = Trim(line);
    if (line.empty()) continue;
    const std::string place = fmt::format("{}:{}", file, line_number);
    if (!IsUtf8(line)) return InvalidArgument(place + ": want UTF-8, found other bytes");
    const size_t space = line.find(' ');
    const int64_t id = ParseId(line.substr(0, space));
    if (id != 1 && (id == 0 || id != last_id + 1)) {
      return InvalidArgument(fmt::format("{}: want line id 1 or {}, found {}", place, last_id + 1,
                                         Quote(line.substr(0, space), 40)));
    }
    if (id > kMaxStoryLines) {
      return InvalidArgument(
          fmt::format("{}: want at most {} lines in a story", place, kMaxStoryLines));
    }
    if (id == 1) story.clear();
    last_id = id;
    const std::string_view rest =
        space == std::string_view::npos ? std::string_view() : Trim(line.substr(space + 1));
    if (rest.empty()) {
      return InvalidArgument(place + ": want a sentence after the line id, found none");
    }
    const std::vector<std::string_view> fields = Split(rest, '\t');
    if (fields.size() == 1) {
      story.push_back({id, rest});
      continue;
    }
    if (fields.size() != 3) {
      return InvalidArgument(
          fmt::format("{}: want question, answer and supporting ids between tabs, found {} fields",
                      place, fields.size()));
    }
    Result<BabiSample> sample = MakeSample(fields, story, options);
    if (!sample.ok()) return sample.status().WithPrefix(place);
    if (question_number >= begin && question_number < end) {
      samples.push_back(std::move(sample).value());
    }
    ++question_number;
  }
  return samples;
}

std::string ToJson(const BabiSample& sample) {
  nlohmann::ordered_json json;
  json["I_ALL"] = sample.question;
  json["I_A"] = sample.story;
  json["O_A"] = fmt::format("{}", fmt::join(sample.facts, ""));
  json["O_B"] = sample.answer;
  json["task"] = fmt::format("babi-{}", sample.task);
  return json.dump();
}

}  // namespace onepass
