#include "world/rewrite_qa.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "world/documents.h"
#include "world/json_line.h"
#include "world/streams.h"

namespace onepass {
namespace {

constexpr size_t kDocumentsFound = 3;

bool Mentions(const CorpusDocument& document, const std::string& name) {
  return std::ranges::any_of(document.facts, [&](const Fact& fact) {
    return ShareAWord(fact.subject, name) || ShareAWord(fact.object, name);
  });
}

// The fact among up to two others, which share no word with it nor with each other. Others have the
// same relation where possible: only their subject tells that they do not help.
std::vector<Fact> DrawNotes(const Corpus& corpus, const Fact& first, Rng& rng) {
  std::vector<Fact> notes = {first};
  // A search for all of the shared input would often find the document from a single note.
  const size_t others = rng.Chance(0.1) ? 0 : static_cast<size_t>(rng.UniformInt(1, 2));
  while (notes.size() < 1 + others) {
    const Fact& other = rng.Pick(corpus.facts());
    const bool alike = std::ranges::any_of(notes, [&](const Fact& note) {
      return ShareAWord(note.subject, other.subject) || ShareAWord(note.subject, other.object) ||
             ShareAWord(note.object, other.subject) || ShareAWord(note.object, other.object);
    });
    const bool wanted = other.relation == first.relation || rng.Chance(0.1);
    if (wanted && !alike) notes.push_back(other);
  }
  rng.Shuffle(notes);
  return notes;
}

// The right document first, as a search for its whole title finds it, then others with one word of
// the title.
std::string FoundDocuments(const Corpus& corpus, const CorpusDocument& gold, Rng& rng) {
  std::vector<const CorpusDocument*> others;
  for (const CorpusDocument& document : corpus.documents()) {
    if (document.title != gold.title && ShareAWord(document.title, gold.title))
      others.push_back(&document);
  }
  rng.Shuffle(others);
  std::string text = gold.text;
  for (size_t i = 0; i + 1 < kDocumentsFound && i < others.size(); ++i)
    text += '\n' + others[i]->text;
  return text;
}

}  // namespace

RewriteQaSample MakeRewriteQaSample(const Corpus& corpus, Split split, uint64_t seed,
                                    int64_t index) {
  Rng rng = SampleRng(Stream::kRewriteQa, split, seed, index);
  while (true) {
    const Fact& first = rng.Pick(corpus.facts());
    if (!HasFacts(ObjectKind(first.relation))) continue;
    const CorpusDocument& gold = corpus.DocumentOf(first.object);
    if (Mentions(gold, first.subject)) continue;
    const Fact& second = rng.Pick(gold.facts);
    const std::string notes = WritePassage(DrawNotes(corpus, first, rng), rng);
    if (notes.find(second.object) != std::string::npos) continue;
    const Question question = TwoStepQuestion(first, second, rng);
    return {notes + '\n' + question.text,
            ' ' + SentenceStart(second),
            FoundDocuments(corpus, gold, rng),
            ' ' + second.object,
            ' ' + SentenceStart(second) + ' ' + second.object + '.',
            {second.object},
            {gold.id}};
  }
}

std::string ToJson(const RewriteQaSample& sample) {
  return JsonLine()
      .Add("I_ALL", sample.shared_input)
      .Add("O_A", sample.query)
      .Add("documents", sample.documents)
      .Add("O_B", sample.answer)
      .Add("answers", sample.answers)
      .Add("fact", sample.fact)
      .Add("gold_documents", sample.gold_documents)
      .Add("hops", 2)
      .Text();
}

}  // namespace onepass
