#include "eval/answered_run.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/hash.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr char kFormat[] = "onepass eval run 1";

// The text up to the next newline, which must be there, and removes both.
std::optional<std::string_view> TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view line = text->substr(0, end + 1);
  text->remove_prefix(end + 1);
  return line;
}

template <class T>
bool Read(const json& object, const char* key, T* out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return false;
  *out = found->get<T>();
  return true;
}

// Absent and null are none.
template <class T>
bool Read(const json& object, const char* key, std::optional<T>* out) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return true;
  return Read(object, key, &out->emplace());
}

std::optional<AnsweredQuestion> ParseQuestion(std::string_view line) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return std::nullopt;
  AnsweredQuestion question;
  question.line = line;
  if (const auto fault = object.find("fault"); fault != object.end()) {
    if (!fault->is_string()) return std::nullopt;
    question.fault = fault->get<std::string>();
    return question;
  }
  if (Read(object, "em", &question.score.exact_match) && Read(object, "f1", &question.score.f1) &&
      Read(object, "accuracy", &question.accuracy) && Read(object, "ms", &question.ms) &&
      Read(object, "handoff_ms", &question.handoff_ms) &&
      Read(object, "recomputed_tokens", &question.recomputed_tokens) &&
      Read(object, "peak_kv_bytes", &question.peak_kv_bytes) &&
      Read(object, "rounds", &question.rounds) && Read(object, "tool_runs", &question.tool_runs)) {
    return question;
  }
  return std::nullopt;
}

}  // namespace

std::string FaultLine(int64_t number, const std::string& fault) {
  const nlohmann::ordered_json line = {{"number", number}, {"fault", fault}};
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string RunToText(const std::string& identity, const AnsweredRun& run) {
  std::string lines;
  for (const AnsweredQuestion& question : run.questions) lines += question.line;
  const nlohmann::ordered_json head = {
      {"format", kFormat}, {"identity", identity}, {"lines_hash", HexDigits(HashText(lines))}};
  return head.dump() + "\n" + lines;
}

std::optional<std::vector<AnsweredQuestion>> ParseRun(std::string_view text,
                                                      const std::string& identity,
                                                      size_t question_count) {
  const auto head_line = TakeLine(&text);
  if (!head_line.has_value()) return std::nullopt;
  const json head = json::parse(*head_line, nullptr, /*allow_exceptions=*/false);
  const json wanted = {
      {"format", kFormat}, {"identity", identity}, {"lines_hash", HexDigits(HashText(text))}};
  if (!(head == wanted)) return std::nullopt;  // what is no JSON is neither equal nor unequal
  std::vector<AnsweredQuestion> questions;
  while (!text.empty()) {
    const auto line = TakeLine(&text);
    if (!line.has_value()) return std::nullopt;
    std::optional<AnsweredQuestion> question = ParseQuestion(*line);
    if (!question.has_value()) return std::nullopt;
    questions.push_back(*std::move(question));
  }
  if (questions.size() != question_count) return std::nullopt;
  return questions;
}

}  // namespace onepass
