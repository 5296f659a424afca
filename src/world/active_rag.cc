#include "world/active_rag.h"

#include <optional>

#include "world/combine.h"
#include "world/json_line.h"
#include "world/streams.h"

namespace onepass {

ActiveRagSample MakeActiveRagSample(const Corpus& corpus, Split split, uint64_t seed,
                                    int64_t index) {
  Rng rng = SampleRng(Stream::kActiveRag, split, seed, index);
  const auto retrievals = static_cast<int>(rng.UniformInt(2, 4));
  std::optional<CombineQuestion> question;
  while (!question) question = DrawCombineQuestion(corpus.facts(), retrievals, rng);
  ActiveRagSample sample;
  sample.shared_input = question->text;
  for (const Fact& fact : question->support) {
    sample.retrievals.push_back(RoundOf(fact));
    sample.gold_documents.push_back(corpus.DocumentOf(fact.subject).id);
  }
  sample.last_plan = " [Combine]";
  sample.answer = ' ' + question->answers[0];
  sample.answers = question->answers;
  return sample;
}

std::string ToJson(const ActiveRagSample& sample) {
  JsonLine line;
  line.Add("I_ALL", sample.shared_input);
  AddRounds(sample.retrievals, sample.last_plan, line);
  return line.Add("O_C", sample.answer)
      .Add("answers", sample.answers)
      .Add("gold_documents", sample.gold_documents)
      .Add("hops", static_cast<int64_t>(sample.retrievals.size()))
      .Text();
}

}  // namespace onepass
