// The tasks of several rounds or with retrieval, and the corpus that they retrieve from.
#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "world/active_rag.h"
#include "world/corpus.h"
#include "world/json_line.h"
#include "world/memory_reasoning.h"
#include "world/paths.h"
#include "world/rewrite_qa.h"
#include "world/search_for_test.h"
#include "world/world.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kSeed = 20;
constexpr int kSamples = 600;
constexpr Split kSplits[] = {Split::kTrain, Split::kValidation, Split::kTest};

const Corpus& TestCorpus() {
  static const Corpus corpus(Split::kTest, kSeed);
  return corpus;
}

// Words and marks: what the base's tokenizer makes of a text of the world, or a little less.
int64_t WordCount(std::string_view text) {
  return std::ranges::count_if(
      text, [](char c) { return std::string_view(" .?:\n").find(c) != std::string_view::npos; });
}

// The first two words with capitals.
std::string FirstName(const std::string& text) {
  static const std::regex pattern("[A-Z][a-z]+ [A-Z][a-z]+");
  std::smatch found;
  return std::regex_search(text, found, pattern) ? found.str() : "";
}

TEST(ChainTasks, ALineDependsOnNothingButTaskSplitSeedAndIndex) {
  for (const WorldTask task : {WorldTask::kRewriteQa, WorldTask::kMemoryReasoning,
                               WorldTask::kActiveRag, WorldTask::kCorpus}) {
    SCOPED_TRACE(TaskName(task));
    std::set<std::string> lines;
    for (const Split split : kSplits) {
      for (const uint64_t seed : {kSeed, kSeed + 1}) {
        const WorldFile file({.task = task, .split = split, .count = 5, .seed = seed});
        const WorldFile longer({.task = task, .split = split, .count = 9, .seed = seed});
        file.Line(4);
        EXPECT_EQ(file.Line(2), longer.Line(2));
        lines.insert(file.Line(2));
      }
    }
    EXPECT_EQ(lines.size(), 6u);
  }
}

TEST(ChainTasks, KeysAreTheAuthorsAndTextsAreEscaped) {
  RewriteQaSample rewrite{"a\n\"b\"", "q", "d", "o", "q o.", {"o", "p"}, {"x"}};
  EXPECT_EQ(ToJson(rewrite),
            R"({"I_ALL": "a\n\"b\"", "O_A": "q", "documents": "d", "O_B": "o", )"
            R"("answers": ["o", "p"], "fact": "q o.", "gold_documents": ["x"], "hops": 2})");
  MemoryReasoningSample memory{"s", "d\n", {{"a", "b"}, {"c", "e"}}, "f", {"g"}, 2};
  EXPECT_EQ(ToJson(memory),
            R"({"I_ALL": "s", "I_B": "d\n", "O_1A": "a", "O_1B": "b", "O_2A": "c", "O_2B": "e", )"
            R"("O_3A": "f", "answer": " g", "answers": ["g"], "hops": 2})");
  ActiveRagSample active{"s", {{"a", "b"}, {"c", "e"}}, "f", "g", {"g"}, {"x", "y"}};
  EXPECT_EQ(ToJson(active),
            R"({"I_ALL": "s", "O_1A": "a", "O_1B": "b", "O_2A": "c", "O_2B": "e", "O_3A": "f", )"
            R"("O_C": "g", "answers": ["g"], "gold_documents": ["x", "y"], "hops": 2})");
  EXPECT_EQ(ToJson(CorpusDocument{"i", "t", "x", {}}), R"({"id": "i", "title": "t", "text": "x"})");
  EXPECT_EQ(JsonLine().Text(), "{}");
  EXPECT_EQ(JsonLine().Add("k", std::vector<std::string>{}).Text(), R"({"k": []})");
}

TEST(Corpus, EveryEntityHasOneDocumentAndEveryFactOneObject) {
  for (const Split split : kSplits) {
    const Corpus corpus(split, kSeed);
    EXPECT_EQ(corpus.documents().size(), 590u);
    std::set<std::string> ids;
    std::set<std::pair<std::string, Relation>> facts;
    for (const CorpusDocument& document : corpus.documents()) {
      EXPECT_TRUE(ids.insert(document.id).second) << document.id;
      EXPECT_EQ(SplitOfName(document.title), split);
      EXPECT_EQ(&corpus.DocumentOf(document.title), &document);
      EXPECT_THAT(document.text, StartsWith("About " + document.title + ": "));
      EXPECT_LE(WordCount(document.text), 52) << document.text;
      for (const Fact& fact : document.facts) {
        EXPECT_EQ(fact.subject, document.title);
        EXPECT_TRUE(facts.emplace(fact.subject, fact.relation).second);
        EXPECT_FALSE(ShareAWord(fact.subject, fact.object)) << document.text;
        EXPECT_THAT(document.text, HasSubstr(fact.object));
        if (HasFacts(ObjectKind(fact.relation))) {
          EXPECT_EQ(corpus.DocumentOf(fact.object).title, fact.object);
        }
      }
    }
    EXPECT_EQ(facts.size(), corpus.facts().size());
  }
}

// The facts of the corpus that begin so: there must be one.
std::vector<Fact> FactsThatStart(std::string_view start) {
  std::vector<Fact> found;
  for (const Fact& fact : TestCorpus().facts()) {
    if (' ' + SentenceStart(fact) == start) found.push_back(fact);
  }
  return found;
}

// The answers of all pairs of facts that a two-step question with this text could be about.
std::set<std::string> AllAnswers(const std::string& text) {
  std::set<std::string> answers;
  for (const Fact& first : TestCorpus().facts()) {
    if (!HasFacts(ObjectKind(first.relation)) || text.find(first.subject) == std::string::npos)
      continue;
    for (const Fact& second : TestCorpus().DocumentOf(first.object).facts) {
      Rng rng(kSeed);
      for (int wording = 0; wording < 40; ++wording) {
        if (TwoStepQuestion(first, second, rng).text == text) answers.insert(second.object);
      }
    }
  }
  return answers;
}

TEST(RewriteQa, OnlyTheNotesLeadToTheDocumentWithTheAnswer) {
  const Search search(TestCorpus());
  int by_query = 0;
  int by_question = 0;
  int by_shared_input = 0;
  std::map<int64_t, int> note_counts;
  for (int i = 0; i < kSamples; ++i) {
    const RewriteQaSample sample = MakeRewriteQaSample(TestCorpus(), Split::kTest, kSeed, i);
    SCOPED_TRACE(sample.shared_input);
    const size_t end = sample.shared_input.find('\n');
    const std::string notes = sample.shared_input.substr(0, end);
    const std::string question = sample.shared_input.substr(end + 1);
    ++note_counts[std::ranges::count(notes, '.')];
    const std::vector<Fact> asked = FactsThatStart(sample.query);
    ASSERT_EQ(asked.size(), 1u) << sample.query;
    EXPECT_EQ(sample.answer, ' ' + asked[0].object);
    EXPECT_EQ(sample.answers, std::vector<std::string>{asked[0].object});
    EXPECT_THAT(notes, HasSubstr(asked[0].subject));
    EXPECT_THAT(question, Not(HasSubstr(asked[0].subject)));
    EXPECT_THAT(sample.shared_input, Not(HasSubstr(asked[0].object)));
    EXPECT_EQ(AllAnswers(question), std::set<std::string>{asked[0].object});
    const CorpusDocument& gold = TestCorpus().DocumentOf(asked[0].subject);
    EXPECT_EQ(sample.gold_documents, std::vector<std::string>{gold.id});
    EXPECT_THAT(sample.documents, StartsWith(gold.text));
    EXPECT_LE(WordCount(sample.shared_input), 60);
    EXPECT_LE(WordCount(sample.documents), 160);
    by_query += search.Finds(gold.id, sample.query, 1);
    by_question += search.Finds(gold.id, question, 2);
    by_shared_input += search.Finds(gold.id, sample.shared_input, 2);
  }
  EXPECT_GE(by_query, kSamples * 95 / 100);
  EXPECT_LE(by_question, kSamples / 100);
  EXPECT_LE(by_shared_input, kSamples * 15 / 100);
  EXPECT_EQ(note_counts.size(), 3u);
  EXPECT_LT(note_counts[1], kSamples / 5);
  for (int64_t count = 2; count <= 3; ++count) EXPECT_GT(note_counts[count], kSamples / 3);
}

TEST(MemoryReasoning, TheTraceFollowsTheQuestionThroughTheDocuments) {
  std::map<size_t, int> rounds;
  for (int i = 0; i < kSamples; ++i) {
    const MemoryReasoningSample sample = MakeMemoryReasoningSample(Split::kTest, kSeed, i);
    SCOPED_TRACE(ToJson(sample));
    ++rounds[sample.recalls.size() + 1];
    const std::string answer = sample.answers.at(0);
    EXPECT_EQ(sample.conclusion, " [The answer is] " + answer);
    const size_t end = sample.shared_input.find('\n');
    const bool has_note = end != std::string::npos;
    const std::string question =
        has_note ? sample.shared_input.substr(end + 1) : sample.shared_input;
    const int noted = sample.hops - static_cast<int>(sample.recalls.size());
    EXPECT_TRUE(noted == 0 || (noted == 1 && has_note));
    EXPECT_THAT(question, Not(HasSubstr(answer)));
    std::string at;  // where the path has come to
    for (const Round& recall : sample.recalls) {
      EXPECT_THAT(recall.fact, StartsWith(recall.start + ' '));
      if (at.empty()) {
        const std::string& known = noted == 1 ? sample.shared_input : question;
        EXPECT_THAT(known, HasSubstr(FirstName(recall.start)));
      } else {
        EXPECT_THAT(recall.start, HasSubstr(at));
      }
      at = recall.fact.substr(recall.start.size() + 1);
      at.pop_back();
      EXPECT_THAT(sample.documents, HasSubstr(at));
    }
    EXPECT_EQ(sample.recalls.empty() ? answer : at, answer);
    EXPECT_LE(WordCount(sample.shared_input), 60);
    const int64_t sentences = std::ranges::count(sample.documents, '.');
    EXPECT_TRUE(sentences >= 12 && sentences <= 16);
    EXPECT_LE(WordCount(sample.documents), 200);
  }
  ASSERT_EQ(rounds.size(), 6u);
  for (const auto& [count, samples] : rounds) EXPECT_GT(samples, kSamples / 9) << count;
}

TEST(ActiveRag, TheTraceGathersTheFactsOfTheAnswer) {
  const Search search(TestCorpus());
  std::map<size_t, int> retrieval_counts;
  int found = 0;
  int retrievals = 0;
  int unnamed = 0;  // documents about what another one names
  int unnamed_by_question = 0;
  for (int i = 0; i < kSamples; ++i) {
    const ActiveRagSample sample = MakeActiveRagSample(TestCorpus(), Split::kTest, kSeed, i);
    SCOPED_TRACE(ToJson(sample));
    ++retrieval_counts[sample.retrievals.size()];
    EXPECT_EQ(sample.last_plan, " [Combine]");
    EXPECT_EQ(sample.answer, ' ' + sample.answers.at(0));
    ASSERT_EQ(sample.gold_documents.size(), sample.retrievals.size());
    std::vector<Fact> asked;
    for (size_t j = 0; j < sample.retrievals.size(); ++j) {
      const std::vector<Fact> facts = FactsThatStart(sample.retrievals[j].start);
      ASSERT_EQ(facts.size(), 1u);
      EXPECT_EQ(sample.retrievals[j].fact, ' ' + CanonicalSentence(facts[0]));
      EXPECT_EQ(TestCorpus().DocumentOf(facts[0].subject).id, sample.gold_documents[j]);
      if (!asked.empty() && asked.back().object == facts[0].subject) {
        asked.pop_back();
        ++unnamed;
        unnamed_by_question += search.Finds(sample.gold_documents[j], sample.shared_input, 4);
      }
      asked.push_back(facts[0]);
      found += search.Finds(sample.gold_documents[j], sample.retrievals[j].start, 1);
      ++retrievals;
    }
    ASSERT_EQ(asked.size(), 2u);
    EXPECT_EQ(asked[0].relation, asked[1].relation);
    const std::string& left = asked[0].object;
    const std::string& right = asked[1].object;
    EXPECT_EQ(sample.answers,
              (std::vector<std::string>{left + " and " + right, right + " and " + left}));
    EXPECT_LE(WordCount(sample.shared_input), 60);
  }
  EXPECT_GE(found, retrievals * 97 / 100);
  EXPECT_LE(unnamed_by_question, unnamed / 20);
  EXPECT_EQ(retrieval_counts.size(), 3u);
  for (size_t count = 2; count <= 4; ++count) EXPECT_GT(retrieval_counts[count], kSamples / 4);
}

}  // namespace
}  // namespace onepass
