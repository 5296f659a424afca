#include "world/step_formats.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "world/combine.h"
#include "world/documents.h"
#include "world/facts.h"
#include "world/layout.h"
#include "world/paths.h"
#include "world/scene.h"

namespace onepass {
namespace {

constexpr double kNamesAlike = 0.33;

// A question of several facts with the world that it is about.
struct Task {
  MicroWorld world;
  Question question;
  bool combines = false;
};

MicroWorld DrawWorld(const FormatOptions& options, Rng& rng) {
  MicroWorldOptions world_options;
  world_options.split = options.split;
  world_options.names_alike = rng.Chance(kNamesAlike / 2);
  world_options.person_count = static_cast<int>(rng.UniformInt(2, 4));
  world_options.company_count = static_cast<int>(rng.UniformInt(2, 3));
  world_options.city_count = static_cast<int>(rng.UniformInt(2, 3));
  world_options.fact_count = static_cast<int>(rng.UniformInt(14, 22));
  return DrawMicroWorld(world_options, rng);
}

// Needs 2, 3 or 4 facts.
Task DrawCombining(const FormatOptions& options, Rng& rng) {
  const auto needed = static_cast<int>(rng.UniformInt(2, 4));
  while (true) {
    Task task{DrawWorld(options, rng), {}, true};
    std::optional<CombineQuestion> drawn = DrawCombineQuestion(task.world.facts, needed, rng);
    if (!drawn) continue;
    task.question = {std::move(drawn->text), std::move(drawn->support), drawn->answers[0]};
    return task;
  }
}

// A path of 1 to 2, 3 or 5 steps by level. Its question may begin with a name, hence the space.
Task DrawPath(const FormatOptions& options, Rng& rng) {
  const int longest = options.level == 3 ? 5 : options.level + 1;
  while (true) {
    Task task{DrawWorld(options, rng), {}, false};
    const int steps = static_cast<int>(rng.UniformInt(1, longest));
    std::vector<Question> questions = DrawPathQuestions(task.world, steps, rng);
    if (questions.empty()) continue;
    task.question = std::move(questions.front());
    task.question.text.insert(0, 1, ' ');
    return task;
  }
}

Task DrawTwoSteps(const FormatOptions& options, Rng& rng) {
  while (true) {
    Task task{DrawWorld(options, rng), {}, false};
    std::vector<Question> questions = DrawQuestions(task.world, 2, rng);
    if (questions.empty()) continue;
    task.question = std::move(questions.front());
    return task;
  }
}

Task DrawTask(const FormatOptions& options, Rng& rng) {
  if (rng.Chance(0.5)) return DrawPath(options, rng);
  return rng.Chance(0.5) ? DrawTwoSteps(options, rng) : DrawCombining(options, rng);
}

int Hops(const Task& task) { return static_cast<int>(task.question.support.size()); }

// The first `known` facts of the question in their order, as a chain finds them, mostly in
// canonical words; up to two others stand before or among them. May be empty.
std::string KnownText(const Task& task, size_t known, Rng& rng) {
  const std::vector<Fact>& support = task.question.support;
  std::vector<Fact> facts(support.begin(), support.begin() + static_cast<std::ptrdiff_t>(known));
  const auto others = rng.UniformInt(0, 2);
  for (int64_t i = 0; i < others; ++i) {
    const Fact& other = rng.Pick(task.world.facts);
    const auto is_other = [&](const Fact& fact) { return fact == other; };
    if (std::ranges::any_of(support, is_other) || std::ranges::any_of(facts, is_other)) continue;
    const size_t place = rng.Chance(0.5) ? 0 : rng.Uniform(facts.size() + 1);
    facts.insert(facts.begin() + static_cast<std::ptrdiff_t>(place), other);
  }
  return rng.Chance(0.7) ? WriteSummary(facts) : WritePassage(facts, rng);
}

std::string StepOf(const Fact& fact) { return ' ' + SentenceStart(fact); }

std::string ConclusionOf(const Task& task) {
  if (task.combines) return " All facts are known.";
  return " The answer is " + task.question.answer + '.';
}

}  // namespace

FormatSample NextStep(const FormatOptions& options, Rng& rng) {
  const Task task = DrawTask(options, rng);
  const size_t known = rng.Uniform(task.question.support.size());
  const Layout layout(Ask::kNext, rng);
  const std::string text = KnownText(task, known, rng);
  return Single(layout.Prompt(text, task.question.text, rng), StepOf(task.question.support[known]),
                Hops(task));
}

FormatSample NextStepTurns(const FormatOptions& options, Rng& rng) {
  const Task task = DrawTask(options, rng);
  const std::vector<Fact>& support = task.question.support;
  const size_t known = rng.Chance(0.6) ? 0 : rng.Uniform(support.size() + 1);
  const Layout layout(Ask::kNext, rng);
  FormatSample sample;
  const std::string text = KnownText(task, known, rng);
  sample.parts.push_back({layout.Prompt(text, task.question.text, rng), false, 0});
  for (size_t i = known; i < support.size(); ++i) {
    sample.parts.push_back({StepOf(support[i]) + "<eos>", true, Hops(task)});
    sample.parts.push_back({layout.Then(' ' + CanonicalSentence(support[i])), false, 0});
  }
  sample.parts.push_back({ConclusionOf(task), true, Hops(task)});
  if (!task.combines) return sample;
  sample.parts.back().text += "<eos>";
  sample.parts.push_back({"\nAnswer:", false, 0});
  sample.parts.push_back({' ' + task.question.answer, true, Hops(task)});
  return sample;
}

FormatSample Recall(const FormatOptions& options, Rng& rng) {
  const Scene scene = DrawScene(options, rng.Chance(kNamesAlike), rng);
  const Fact& fact = rng.Pick(scene.world.facts);
  const Layout layout(Ask::kRecall, rng);
  return Single(layout.Prompt(scene.text, SentenceStart(fact), rng), ' ' + CanonicalSentence(fact),
                1);
}

FormatSample FillIn(const FormatOptions& options, Rng& rng) {
  const Scene scene = DrawScene(options, rng.Chance(kNamesAlike), rng);
  const Fact& fact = rng.Pick(scene.world.facts);
  const Layout layout(Ask::kFill, rng);
  return Single(layout.Prompt(scene.text, SentenceStart(fact), rng), ' ' + fact.object, 1);
}

FormatSample RecallTurns(const FormatOptions& options, Rng& rng) {
  const Scene scene = DrawScene(options, rng.Chance(kNamesAlike), rng);
  std::vector<Fact> wanted = scene.world.facts;
  rng.Shuffle(wanted);
  wanted.resize(std::min(wanted.size(), static_cast<size_t>(rng.UniformInt(3, 4 + scene.level))));
  Layout layout(Ask::kRecall, rng);
  layout.PutTextFirst();
  FormatSample sample;
  for (const Fact& fact : wanted) {
    const std::string start = SentenceStart(fact);
    const bool opening = sample.parts.empty();
    if (!opening) sample.parts.back().text += "<eos>";
    sample.parts.push_back(
        {opening ? layout.Prompt(scene.text, start, rng) : layout.Turn(start), false, 0});
    sample.parts.push_back({' ' + CanonicalSentence(fact), true, 1});
  }
  return sample;
}

FormatSample Conclude(const FormatOptions& options, Rng& rng) {
  const Task task = rng.Chance(0.6) ? DrawPath(options, rng) : DrawTwoSteps(options, rng);
  const std::vector<Fact>& support = task.question.support;
  const size_t known = rng.Chance(0.6) ? support.size() : rng.Uniform(support.size());
  const Layout layout(Ask::kConclude, rng);
  const std::string text = KnownText(task, known, rng);
  return Single(layout.Prompt(text, task.question.text, rng),
                known == support.size() ? ConclusionOf(task) : StepOf(support[known]), Hops(task));
}

FormatSample Combine(const FormatOptions& options, Rng& rng) {
  const Task task = DrawCombining(options, rng);
  const Layout layout(Ask::kCombine, rng);
  const std::string text = KnownText(task, task.question.support.size(), rng);
  return Single(layout.Prompt(text, task.question.text, rng), ' ' + task.question.answer,
                Hops(task));
}

}  // namespace onepass
