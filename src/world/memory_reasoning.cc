#include "world/memory_reasoning.h"

#include <algorithm>
#include <cstddef>

#include "world/documents.h"
#include "world/facts.h"
#include "world/json_line.h"
#include "world/paths.h"
#include "world/streams.h"

namespace onepass {
namespace {

constexpr int kMostHops = 5;

// Whether and which note precedes the question.
enum class Note { kNone, kFirstFact, kOther };

Note DrawNote(int recalls, Rng& rng) {
  if (recalls == 0) return Note::kFirstFact;
  if (recalls < kMostHops && rng.Chance(0.25)) return Note::kFirstFact;
  return rng.Chance(0.25) ? Note::kOther : Note::kNone;
}

// A fact that is no step of the question.
Fact OtherFact(const MicroWorld& world, const Question& question, Rng& rng) {
  std::vector<Fact> others;
  for (const Fact& fact : world.facts) {
    if (std::ranges::find(question.support, fact) == question.support.end()) others.push_back(fact);
  }
  return rng.Pick(others);
}

}  // namespace

MemoryReasoningSample MakeMemoryReasoningSample(Split split, uint64_t seed, int64_t index) {
  Rng rng = SampleRng(Stream::kMemoryReasoning, split, seed, index);
  const int recalls = static_cast<int>(rng.UniformInt(0, kMostHops));
  const Note note = DrawNote(recalls, rng);
  const int hops = recalls + (note == Note::kFirstFact ? 1 : 0);
  while (true) {
    const MicroWorld world = DrawDocumentWorld(split, rng);
    const std::vector<Question> questions = DrawPathQuestions(world, hops, rng);
    if (questions.empty()) continue;
    const Question& question = questions.front();
    const Fact noted =
        note == Note::kFirstFact ? question.support[0] : OtherFact(world, question, rng);
    const std::vector<Document> documents =
        WriteDocuments(world, static_cast<int>(rng.UniformInt(4, 5)), rng);
    if (documents.size() < 4) continue;
    MemoryReasoningSample sample;
    if (note != Note::kNone) sample.shared_input = ' ' + ParaphrasedSentence(noted, rng) + '\n';
    sample.shared_input += ' ' + question.text;
    sample.documents = JoinDocuments(documents);
    for (auto i = static_cast<size_t>(hops - recalls); i < question.support.size(); ++i) {
      sample.recalls.push_back(RoundOf(question.support[i]));
    }
    sample.conclusion = " [The answer is] " + question.answer;
    sample.answers = {question.answer};
    sample.hops = hops;
    return sample;
  }
}

std::string ToJson(const MemoryReasoningSample& sample) {
  JsonLine line;
  line.Add("I_ALL", sample.shared_input).Add("I_B", sample.documents);
  AddRounds(sample.recalls, sample.conclusion, line);
  return line.Add("answer", ' ' + sample.answers.front())
      .Add("answers", sample.answers)
      .Add("hops", sample.hops)
      .Text();
}

}  // namespace onepass
