#include "eval/babi_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

namespace onepass {
namespace {

constexpr int kChainedTasks[] = {1, 2, 3, 15};  // a fact leads to the next one
constexpr int kListedTasks[] = {7, 8};          // everything that happened to somebody counts
constexpr std::string_view kNothingMore = " Nothing more.";
// Orders of more parts than these would be too many to list.
constexpr size_t kMostPartsInAnyOrder = 3;

bool IsListed(int task) { return std::ranges::find(kListedTasks, task) != std::end(kListedTasks); }

std::vector<std::string_view> NonEmptyPieces(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) pieces.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return pieces;
}

// The words of a sentence, its end mark left out.
std::vector<std::string_view> WordsOf(std::string_view sentence) {
  const size_t last = sentence.find_last_not_of(".?! ");
  return NonEmptyPieces(sentence.substr(0, last == std::string_view::npos ? 0 : last + 1), ' ');
}

// What is asked about: what follows the question's first "is", "was" or "are", or all of it.
std::string TopicOf(std::string_view question) {
  const std::vector<std::string_view> words = WordsOf(question);
  const auto verb = std::ranges::find_if(
      words, [](std::string_view word) { return word == "is" || word == "was" || word == "are"; });
  const bool has_topic = verb != words.end() && verb + 1 != words.end();
  return fmt::format("{}", fmt::join(has_topic ? verb + 1 : words.begin(), words.end(), " "));
}

// What a fact leads to.
std::string_view NextOf(std::string_view fact) {
  const std::vector<std::string_view> words = WordsOf(fact);
  if (words.empty()) return fact;
  const bool is_kind = words.size() == 4 && words[1] == "is" && words[2] == "a";
  return is_kind ? words[3] : words[0];
}

std::vector<std::string> OrdersOf(const std::string& answer) {
  std::vector<std::string_view> parts = NonEmptyPieces(answer, ',');
  if (parts.size() < 2 || parts.size() > kMostPartsInAnyOrder) return {answer};
  std::vector<std::string> orders = {answer};
  std::ranges::sort(parts);
  do {
    std::string order = fmt::format("{}", fmt::join(parts, ","));
    if (order != answer) orders.push_back(std::move(order));
  } while (std::ranges::next_permutation(parts).found);
  return orders;
}

}  // namespace

Status CheckBabiTraceTask(int task) {
  if (IsListed(task)) return Status::Ok();
  if (std::ranges::find(kChainedTasks, task) != std::end(kChainedTasks)) return Status::Ok();
  return InvalidArgument(fmt::format("traces: want task 1, 2, 3, 7, 8 or 15, found {}", task));
}

BabiTrace MakeBabiTrace(const BabiSample& sample) {
  BabiTrace trace{.task = sample.task,
                  .question = sample.question,
                  .story = sample.story,
                  .rounds = {},
                  .conclusion = " [The answer is]" + sample.answer,
                  .answer = sample.answer,
                  .answers = OrdersOf(sample.answer.substr(1))};
  const bool listed = IsListed(sample.task);
  std::string wanted = TopicOf(sample.question);
  for (const std::string& fact : sample.facts) {
    trace.rounds.push_back({.wanted = " Find: " + wanted, .recalled = fact});
    if (!listed) wanted = NextOf(fact);
  }
  if (listed) {
    trace.rounds.push_back({.wanted = " Find: " + wanted, .recalled = std::string(kNothingMore)});
  }
  return trace;
}

std::string ToJson(const BabiTrace& trace) {
  nlohmann::ordered_json json;
  const auto add_output = [&](size_t round, char stage, const std::string& text) {
    json[fmt::format("O_{}{}", round, stage)] = text;
  };
  json["I_ALL"] = trace.question;
  json["I_B"] = trace.story;
  for (size_t i = 0; i < trace.rounds.size(); ++i) {
    add_output(i + 1, 'A', trace.rounds[i].wanted);
    add_output(i + 1, 'B', trace.rounds[i].recalled);
  }
  add_output(trace.rounds.size() + 1, 'A', trace.conclusion);
  json["answer"] = trace.answer;
  json["answers"] = trace.answers;
  json["task"] = fmt::format("babi-{}", trace.task);
  return json.dump();
}

}  // namespace onepass
