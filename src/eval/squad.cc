#include "eval/squad.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "core/quote.h"
#include "eval/sentences.h"
#include "format/strict_json.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr size_t kArticlesOfAGroup = 10;
constexpr size_t kMostOccurrences = 1000;  // of an answer: a hostile paragraph could have millions
constexpr std::string_view kBlank = " \t\r\n\v\f";

SquadSplit SplitOf(size_t article) {
  switch (article % kArticlesOfAGroup) {
    case 8:
      return SquadSplit::kValidation;
    case 9:
      return SquadSplit::kTest;
    default:
      return SquadSplit::kTrain;
  }
}

std::string_view WithoutBlanks(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

Status Want(const std::string& place, std::string_view want, const json& found) {
  return InvalidArgument(fmt::format("{}: want {}, found {}", place, want, DescribeJson(found)));
}

// A member of an object; a fault where `parent` is none, or has none of that name and type.
Result<const json*> Member(const json& parent, const char* name, json::value_t type,
                           const std::string& place) {
  if (!parent.is_object()) return Want(place, "an object", parent);
  const auto member = parent.find(name);
  const bool list = type == json::value_t::array;
  if (member == parent.end()) {
    return InvalidArgument(fmt::format("{}: want {} named {}, found no such member", place,
                                       list ? "a list" : "a string", Quote(name)));
  }
  if (member->type() != type) {
    return Want(fmt::format("{}.{}", place, name), list ? "a list" : "a string", *member);
  }
  return &*member;
}

// Text that is not only white space.
Result<std::string_view> TextMember(const json& parent, const char* name,
                                    const std::string& place) {
  ASSIGN_OR_RETURN(const json* member, Member(parent, name, json::value_t::string, place));
  const std::string_view text = WithoutBlanks(member->get_ref<const std::string&>());
  if (text.empty()) {
    return InvalidArgument(fmt::format("{}.{}: want a text, found an empty one", place, name));
  }
  return text;
}

// The byte at which a character of well-formed UTF-8 stands; none: there are fewer.
std::optional<size_t> ByteOf(std::string_view text, uint64_t character) {
  for (size_t at = 0; at <= text.size(); ++at) {
    const bool begins = at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
    if (begins && character-- == 0) return at;
  }
  return std::nullopt;
}

bool IsWordByte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || byte >= 0x80;
}

// Where `text` stands in `context`, up to so many times: as whole words, or, where it never does,
// as part of some.
std::vector<TextSpan> OccurrencesOf(std::string_view text, std::string_view context) {
  std::vector<TextSpan> whole;
  std::vector<TextSpan> all;
  for (size_t at = context.find(text);
       at != std::string_view::npos && all.size() < kMostOccurrences;
       at = context.find(text, at + 1)) {
    const size_t end = at + text.size();
    all.push_back({at, end});
    const bool cut_before = at > 0 && IsWordByte(context[at - 1]) && IsWordByte(text.front());
    const bool cut_behind =
        end < context.size() && IsWordByte(context[end]) && IsWordByte(text.back());
    if (!cut_before && !cut_behind) whole.push_back({at, end});
  }
  return whole.empty() ? all : whole;
}

struct Answer {
  std::string_view text;
  std::vector<TextSpan> places;  // one where the file says it
};

Result<Answer> ReadAnswer(const json& value, std::string_view context, const std::string& place) {
  if (value.is_string()) {
    Answer answer{.text = WithoutBlanks(value.get_ref<const std::string&>()), .places = {}};
    if (answer.text.empty()) return Want(place, "a text", value);
    answer.places = OccurrencesOf(answer.text, context);
    if (answer.places.empty()) return Want(place, "a text of the paragraph", value);
    return answer;
  }
  if (!value.is_object()) return Want(place, "a string, or an object with text", value);
  ASSIGN_OR_RETURN(const json* text, Member(value, "text", json::value_t::string, place));
  const std::string& spelled = text->get_ref<const std::string&>();
  const auto start = value.find("answer_start");
  if (start == value.end()) return ReadAnswer(*text, context, place + ".text");
  if (!start->is_number_unsigned()) {
    return Want(place + ".answer_start", "a number of characters", *start);
  }
  const std::optional<size_t> at = ByteOf(context, start->get<uint64_t>());
  if (!at || WithoutBlanks(spelled).empty() || !context.substr(*at).starts_with(spelled)) {
    return Want(fmt::format("{}: at character {} of the paragraph", place, start->dump()),
                "the answer's text", *text);
  }
  const size_t skipped = std::min(spelled.find_first_not_of(kBlank), spelled.size());
  const std::string_view trimmed = WithoutBlanks(spelled);
  return Answer{.text = trimmed, .places = {{*at + skipped, *at + skipped + trimmed.size()}}};
}

// All the sentences that a place touches.
TextSpan SentencesOf(const TextSpan& place, const std::vector<TextSpan>& sentences) {
  TextSpan covered = place;
  for (const TextSpan& sentence : sentences) {
    if (sentence.end <= place.begin || sentence.begin >= place.end) continue;
    covered.begin = std::min(covered.begin, sentence.begin);
    covered.end = std::max(covered.end, sentence.end);
  }
  return covered;
}

// How many words of the question stand in the text; short ones, which stand everywhere, left out.
int64_t SharedWords(std::string_view question, std::string_view text) {
  int64_t count = 0;
  for (size_t at = 0; at < question.size();) {
    size_t end = at;
    while (end < question.size() && IsWordByte(question[end])) ++end;
    const std::string_view word = question.substr(at, end - at);
    count += word.size() > 3 && !OccurrencesOf(word, text).empty() ? 1 : 0;
    at = end + 1;
  }
  return count;
}

// The sentences that the first answer stands in; where it may be at several places, the likeliest.
TextSpan SupportOf(const std::vector<Answer>& answers, std::string_view question,
                   std::string_view context, const std::vector<TextSpan>& sentences) {
  TextSpan best;
  std::tuple<int64_t, int64_t> best_score{-1, -1};
  for (const TextSpan& place : answers.front().places) {
    const TextSpan covered = SentencesOf(place, sentences);
    const int64_t agreed = std::ranges::count_if(answers, [&](const Answer& answer) {
      return std::ranges::any_of(answer.places, [&](const TextSpan& other) {
        return other.begin >= covered.begin && other.end <= covered.end;
      });
    });
    const std::tuple score{agreed, SharedWords(question, covered.In(context))};
    if (score > best_score) {
      best = covered;
      best_score = score;
    }
  }
  return best;
}

Result<SquadSample> ReadQuestion(const json& value, std::string_view context,
                                 const std::vector<TextSpan>& sentences, const std::string& place) {
  SquadSample sample;
  ASSIGN_OR_RETURN(sample.question, TextMember(value, "question", place));
  ASSIGN_OR_RETURN(const json* list, Member(value, "answers", json::value_t::array, place));
  std::vector<Answer> answers;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string where = fmt::format("{}.answers[{}]", place, i);
    ASSIGN_OR_RETURN(Answer answer, ReadAnswer((*list)[i], context, where));
    const bool known = std::ranges::find(sample.answers, answer.text) != sample.answers.end();
    if (!known) sample.answers.emplace_back(answer.text);
    answers.push_back(std::move(answer));
  }
  if (answers.empty()) return Want(place + ".answers", "at least one answer", *list);
  sample.paragraph = fmt::format(" {}", WithoutBlanks(context));
  sample.sentence =
      fmt::format(" {}", SupportOf(answers, sample.question, context, sentences).In(context));
  sample.answer = " " + sample.answers.front();
  return sample;
}

Status ReadArticle(const json& article, const std::string& place,
                   std::vector<SquadSample>* samples) {
  ASSIGN_OR_RETURN(const std::string_view title, TextMember(article, "title", place));
  ASSIGN_OR_RETURN(const json* paragraphs,
                   Member(article, "paragraphs", json::value_t::array, place));
  for (size_t i = 0; i < paragraphs->size(); ++i) {
    const std::string where = fmt::format("{}.paragraphs[{}]", place, i);
    RETURN_IF_ERROR(TextMember((*paragraphs)[i], "context", where).status());
    const std::string& context = (*paragraphs)[i]["context"].get_ref<const std::string&>();
    const std::vector<TextSpan> sentences = SplitSentences(context);
    ASSIGN_OR_RETURN(const json* questions,
                     Member((*paragraphs)[i], "qas", json::value_t::array, where));
    for (size_t q = 0; q < questions->size(); ++q) {
      ASSIGN_OR_RETURN(SquadSample sample, ReadQuestion((*questions)[q], context, sentences,
                                                        fmt::format("{}.qas[{}]", where, q)));
      sample.title = title;
      samples->push_back(std::move(sample));
    }
  }
  return Status::Ok();
}

}  // namespace

Result<SquadSplit> ParseSquadSplit(std::string_view name) {
  if (name == "train") return SquadSplit::kTrain;
  if (name == "validation") return SquadSplit::kValidation;
  if (name == "test") return SquadSplit::kTest;
  return InvalidArgument("split: want train, validation or test, found " + Quote(name));
}

Result<std::vector<SquadSample>> ReadSquad(std::string_view text, const std::string& file,
                                           SquadSplit split) {
  ASSIGN_OR_RETURN(const json root, ParseStrictJson(text, file));
  const json* articles = &root;
  std::string place = file + ": ";
  if (!root.is_array()) {
    ASSIGN_OR_RETURN(articles, Member(root, "data", json::value_t::array, file));
    place += "data";
  }
  std::vector<SquadSample> samples;
  for (size_t i = 0; i < articles->size(); ++i) {
    std::vector<SquadSample> of_article;
    RETURN_IF_ERROR(ReadArticle((*articles)[i], fmt::format("{}[{}]", place, i), &of_article));
    if (SplitOf(i) != split) continue;
    std::ranges::move(of_article, std::back_inserter(samples));
  }
  if (samples.empty()) {
    return InvalidArgument(fmt::format(
        "{}: want questions of this split (of every ten articles the ninth is validation, the "
        "tenth test), found none in {} articles",
        file, articles->size()));
  }
  return samples;
}

std::string ToJson(const SquadSample& sample) {
  nlohmann::ordered_json line;
  line["I_ALL"] = sample.question;
  line["I_A"] = sample.paragraph;
  line["O_A"] = sample.sentence;
  line["O_B"] = sample.answer;
  line["answers"] = sample.answers;
  line["title"] = sample.title;
  line["task"] = "squad";
  return line.dump();
}

}  // namespace onepass
