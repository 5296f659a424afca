#include "world/formats.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

#include "world/documents.h"
#include "world/facts.h"
#include "world/layout.h"
#include "world/moves.h"
#include "world/scene.h"
#include "world/step_formats.h"

namespace onepass {
namespace {

FormatSample AboutText(Ask ask, double two_step_share, const FormatOptions& options, Rng& rng) {
  const Scene scene = DrawScene(options, false, rng);
  const Question question = MixedQuestions(scene.world, 1, two_step_share, rng).front();
  std::string output = ' ' + question.answer;
  if (ask == Ask::kFacts) output = WriteSummary(question.support);
  if (ask == Ask::kSteps && question.support.size() == 2)
    output = ' ' + question.support[0].object + ',' + output;
  Layout layout(ask, rng);
  if (ask != Ask::kFacts) layout.PutTextFirst();
  return Single(layout.Prompt(scene.text, question.text, rng), output,
                static_cast<int>(question.support.size()));
}

FormatSample Turns(Ask ask, double two_step_share, const FormatOptions& options, Rng& rng) {
  const Scene scene = DrawScene(options, false, rng);
  const size_t count = static_cast<size_t>(rng.UniformInt(3, 4 + 2 * scene.level));
  Layout layout(ask, rng);
  layout.PutTextFirst();
  FormatSample sample;
  for (const Question& question : MixedQuestions(scene.world, count, two_step_share, rng)) {
    if (sample.parts.empty()) {
      sample.parts.push_back({layout.Prompt(scene.text, question.text, rng), false, 0});
    } else {
      sample.parts.back().text +=
          "<eos>";  // every output ends alike, the last one of a sample or not
      sample.parts.push_back({layout.Turn(question.text), false, 0});
    }
    const int hops = static_cast<int>(question.support.size());
    const std::string output =
        ask == Ask::kFactsSeveral ? WriteSummary(question.support) : ' ' + question.answer;
    sample.parts.push_back({output, true, hops});
  }
  return sample;
}

// One or two supporting facts among at most two others, in any order and mostly in canonical
// words.
FormatSample AnswerFacts(const FormatOptions& options, Rng& rng) {
  const Scene scene = DrawScene(options, false, rng);
  const Question question = MixedQuestions(scene.world, 1, 0.6, rng).front();
  std::vector<Fact> facts = question.support;
  const int others = static_cast<int>(rng.UniformInt(0, 2));
  for (int i = 0; i < others; ++i) {
    const Fact& other = rng.Pick(scene.world.facts);
    if (std::find(facts.begin(), facts.end(), other) == facts.end()) facts.push_back(other);
  }
  if (rng.Chance(0.6)) rng.Shuffle(facts);
  const std::string text = rng.Chance(0.7) ? WriteSummary(facts) : WritePassage(facts, rng);
  const Layout layout(Ask::kAnswer, rng);
  return Single(layout.Prompt(text, question.text, rng), ' ' + question.answer,
                static_cast<int>(question.support.size()));
}

FormatSample Answer(const FormatOptions& options, Rng& rng) {
  return AboutText(Ask::kAnswer, 0.0, options, rng);
}
FormatSample Facts(const FormatOptions& options, Rng& rng) {
  return AboutText(Ask::kFacts, 0.55, options, rng);
}
FormatSample Steps(const FormatOptions& options, Rng& rng) {
  return AboutText(Ask::kSteps, 1.0, options, rng);
}
FormatSample AnswerTurns(const FormatOptions& options, Rng& rng) {
  return Turns(Ask::kAnswerSeveral, 0.0, options, rng);
}
FormatSample FactsTurns(const FormatOptions& options, Rng& rng) {
  return Turns(Ask::kFactsSeveral, 0.5, options, rng);
}

FormatSample Complete(const FormatOptions& options, Rng& rng) {
  const Scene scene = DrawScene(options, false, rng);
  const Fact& fact = rng.Pick(scene.world.facts);
  const Layout layout(Ask::kComplete, rng);
  return Single(layout.Prompt(scene.text, SentenceStart(fact), rng), ' ' + fact.object + '.', 1);
}

// Written here, sentence by sentence, so that the wording of the wanted one is known.
FormatSample Quote(const FormatOptions& options, Rng& rng) {
  const Scene scene = DrawScene(options, false, rng);
  const size_t wanted = rng.Uniform(scene.told.size());
  std::string text;
  std::string output;
  for (size_t i = 0; i < scene.told.size(); ++i) {
    const std::string sentence = ' ' + ParaphrasedSentence(scene.told[i], rng);
    text += sentence;
    if (i == wanted) output = sentence;
  }
  const Layout layout(Ask::kQuote, rng);
  return Single(layout.Prompt(text, OneStepQuestion(scene.told[wanted], rng).text, rng), output, 1);
}

// The first few of the facts.
void KeepSome(Scene& scene, Rng& rng) {
  const size_t count = static_cast<size_t>(rng.UniformInt(1, 3));
  if (scene.told.size() > count) scene.told.resize(count);
}

FormatSample Restate(const FormatOptions& options, Rng& rng) {
  Scene scene = DrawScene(options, false, rng);
  KeepSome(scene, rng);
  const Layout layout(Ask::kRestate, rng);
  return Single(layout.Prompt(WritePassage(scene.told, rng), "", rng), WriteSummary(scene.told), 0);
}

FormatSample Copy(const FormatOptions& options, Rng& rng) {
  FormatOptions short_options = options;
  short_options.level = 1;
  Scene scene = DrawScene(short_options, false, rng);
  KeepSome(scene, rng);
  const std::string text = WritePassage(scene.told, rng);
  const Layout layout(Ask::kCopy, rng);
  return Single(layout.Prompt(text, "", rng), text, 0);
}

// Sentences of a story, as they stand there.
std::string Sentences(const MoveStory& story, const std::vector<size_t>& numbers) {
  std::string text;
  for (const size_t number : numbers) text += story.sentences[number];
  return text;
}

std::string StoryText(const MoveStory& story) {
  std::string text;
  for (const std::string& sentence : story.sentences) text += sentence;
  return text;
}

// A story with its questions of one and two steps; three are left for others to learn.
MoveStory DrawStory(const FormatOptions& options, Rng& rng) {
  MoveStory story = DrawMoveStory(static_cast<int>(rng.UniformInt(2, 1 + options.level)), rng);
  std::erase_if(story.questions,
                [](const MoveQuestion& question) { return question.support.size() > 2; });
  return story;
}

// Questions that need more sentences are drawn more often than they occur.
const MoveQuestion& PickMoveQuestion(const MoveStory& story, Rng& rng) {
  const MoveQuestion& first = rng.Pick(story.questions);
  const MoveQuestion& second = rng.Pick(story.questions);
  return first.support.size() >= second.support.size() ? first : second;
}

FormatSample MoveAnswer(const FormatOptions& options, Rng& rng) {
  const MoveStory story = DrawStory(options, rng);
  const MoveQuestion& question = PickMoveQuestion(story, rng);
  Layout layout(Ask::kAnswer, rng);
  layout.PutTextFirst();
  // The whole story for one-step questions; for the others mostly only what they need.
  const bool whole = question.support.size() == 1 || rng.Chance(0.25);
  const std::string text = whole ? StoryText(story) : Sentences(story, question.support);
  return Single(layout.Prompt(text, question.text, rng), ' ' + question.answer,
                static_cast<int>(question.support.size()));
}

FormatSample MoveQuote(const FormatOptions& options, Rng& rng) {
  const MoveStory story = DrawStory(options, rng);
  const MoveQuestion& question = PickMoveQuestion(story, rng);
  const Layout layout(Ask::kQuote, rng);
  return Single(layout.Prompt(StoryText(story), question.text, rng),
                Sentences(story, question.support), static_cast<int>(question.support.size()));
}

FormatSample MoveTurns(const FormatOptions& options, Rng& rng) {
  const MoveStory story = DrawStory(options, rng);
  Layout layout(Ask::kQuote, rng);
  layout.PutTextFirst();
  FormatSample sample;
  for (const MoveQuestion& question : story.questions) {
    const std::string output = Sentences(story, question.support);
    if (!sample.parts.empty()) sample.parts.back().text += "<eos>";
    const bool opening = sample.parts.empty();
    const std::string prompt =
        opening ? layout.Prompt(StoryText(story), question.text, rng) : layout.Turn(question.text);
    sample.parts.push_back({prompt, false, 0});
    sample.parts.push_back({output, true, static_cast<int>(question.support.size())});
  }
  return sample;
}

FormatSample Bare(const FormatOptions& options, Rng& rng) {
  return {"", {{DrawScene(options, false, rng).text, false, 0}}};
}

struct Format {
  std::string_view name;
  FormatSample (*make)(const FormatOptions&, Rng&);
  std::array<int, 3> weights;  // by level
};

constexpr std::array<Format, 21> kFormats = {{{"answer", Answer, {12, 12, 14}},
                                              {"answer-facts", AnswerFacts, {14, 18, 18}},
                                              {"answer-turns", AnswerTurns, {40, 20, 10}},
                                              {"facts", Facts, {6, 16, 12}},
                                              {"facts-turns", FactsTurns, {20, 16, 8}},
                                              {"steps", Steps, {2, 3, 5}},
                                              {"complete", Complete, {6, 3, 2}},
                                              {"quote", Quote, {2, 2, 3}},
                                              {"restate", Restate, {2, 3, 4}},
                                              {"copy", Copy, {4, 3, 3}},
                                              {"move-answer", MoveAnswer, {2, 3, 4}},
                                              {"move-quote", MoveQuote, {1, 3, 6}},
                                              {"move-turns", MoveTurns, {2, 4, 10}},
                                              {"bare", Bare, {0, 0, 1}},
                                              {"next", NextStep, {5, 5, 5}},
                                              {"next-turns", NextStepTurns, {12, 12, 11}},
                                              {"recall", Recall, {3, 3, 4}},
                                              {"recall-turns", RecallTurns, {10, 9, 7}},
                                              {"fill", FillIn, {3, 3, 4}},
                                              {"conclude", Conclude, {4, 4, 5}},
                                              {"combine", Combine, {7, 7, 7}}}};

const Format& ChooseFormat(const FormatOptions& options, Rng& rng) {
  for (const Format& format : kFormats) {
    if (format.name == options.only_format) return format;
  }
  const size_t level = static_cast<size_t>(options.level - 1);
  int total = 0;
  for (const Format& format : kFormats) total += format.weights[level];
  auto ticket = static_cast<int>(rng.Uniform(static_cast<uint64_t>(total)));
  size_t i = 0;
  while (ticket >= kFormats[i].weights[level]) ticket -= kFormats[i++].weights[level];
  return kFormats[i];
}

}  // namespace

std::vector<std::string> FormatNames() {
  std::vector<std::string> names;
  for (const Format& format : kFormats) names.emplace_back(format.name);
  return names;
}

FormatSample MakeFormatSample(const FormatOptions& options, Rng& rng) {
  while (true) {
    const Format& format = ChooseFormat(options, rng);
    FormatSample sample = format.make(options, rng);
    sample.format = format.name;
    if (!options.single_output || sample.parts.back().is_output) return sample;
  }
}

}  // namespace onepass
