#include "retrieval/bm25_index.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "retrieval/index_for_test.h"

namespace onepass {
namespace {

class Bm25 : public IndexTest {};

// `texts`' ids by score, then by order; those without a score are left out.
std::string RankedIds(const std::vector<double>& scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  std::string ids;
  for (const size_t d : order) {
    if (scores[d] > 0) ids.append(ids.empty() ? "" : " ").append(std::to_string(d));
  }
  return ids;
}

void ExpectScores(Bm25Index& index, const std::vector<std::string>& texts, const std::string& query,
                  const Bm25Weights& weights) {
  SCOPED_TRACE(query + ", k1 " + std::to_string(weights.k1) + ", b " + std::to_string(weights.b));
  const std::vector<double> wanted = PlainBm25(texts, query, weights);
  const auto hits = index.Search(query, {.top = 10'000, .k1 = weights.k1, .b = weights.b});
  ASSERT_TRUE(hits.ok()) << hits.status().message();
  ASSERT_EQ(std::ssize(*hits), std::ranges::count_if(wanted, [](double s) { return s > 0; }));
  for (size_t i = 0; i < hits->size(); ++i) {
    const Hit& hit = (*hits)[i];
    const double score = wanted[std::stoul(hit.id)];
    EXPECT_NEAR(hit.score, score, 1e-12 * score) << hit.id;
    EXPECT_EQ(hit.text, texts[std::stoul(hit.id)]);
    EXPECT_LE(hit.score, (*hits)[i == 0 ? 0 : i - 1].score);
  }
}

const std::vector<Bm25Weights>& SomeWeights() {
  static const std::vector<Bm25Weights> weights = {{},     {0, 0.75}, {0.9, 0.4}, {2, 0},
                                                   {2, 1}, {0, 0},    {1000, 1}};
  return weights;
}

TEST_F(Bm25, ScoresAreThePlainFormulas) {
  const std::vector<std::string> texts = {"the cat sat on the mat",
                                          "the dog",
                                          "a cat and a dog and the bird of the cat",
                                          "a bird",
                                          "",
                                          "the the the the cat",
                                          "one more text",
                                          "and one"};
  const auto index = Build("index", texts);
  for (const Bm25Weights& weights : SomeWeights()) {
    for (const char* query : {"cat", "the cat", "bird bird bird dog", "the the", "one text nowhere",
                              "mat on sat and more of a"}) {
      ExpectScores(*index, texts, query, weights);
    }
  }
}

TEST_F(Bm25, ScoresOfManyDocumentsToo) {
  std::mt19937 random(7);
  const auto word = [&] {
    // Few common words and many rare ones.
    const double x = std::uniform_real_distribution<double>(0, 1)(random);
    return std::string("w") + static_cast<char>('a' + static_cast<int>(25 * x * x)) +
           (x > 0.7 ? std::string(1, static_cast<char>('a' + random() % 26)) : "");
  };
  const auto text = [&](size_t most) {
    std::string words;
    for (size_t n = random() % (most + 1); n > 0; --n) words += word() + (n > 1 ? " " : "");
    return words;
  };
  std::vector<std::string> texts;
  for (int i = 0; i < 1500; ++i) texts.push_back(text(i % 50 == 0 ? 400 : 30));
  const auto index = Build("index", texts);
  for (int i = 0; i < 30; ++i) {
    ExpectScores(*index, texts, text(12), SomeWeights()[static_cast<size_t>(i) % 7]);
  }
  // The best few are the first of all: what is cut off is not computed differently.
  for (int i = 0; i < 30; ++i) {
    const std::string query = text(8);
    const std::string all = Ids(*index, query, {.top = 1500});
    const std::string few = Ids(*index, query, {.top = 10});
    EXPECT_TRUE(all.starts_with(few)) << query;
  }
}

TEST_F(Bm25, ScoresAreThoseOfRankBm25) {
  std::ifstream file(ONEPASS_SOURCE_DIR "/tests/golden/retrieval/bm25.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  const std::vector<std::string> texts = golden["documents"];
  ASSERT_GT(texts.size(), 10u);
  const auto index = Build("index", texts);
  for (const auto& row : golden["rows"]) {
    const std::string query = row["query"];
    SCOPED_TRACE(query);
    const auto hits = index->Search(query, {.top = 100, .k1 = row["k1"], .b = row["b"]});
    ASSERT_TRUE(hits.ok());
    ASSERT_EQ(hits->size(), row["hits"].size());
    for (size_t i = 0; i < hits->size(); ++i) {
      EXPECT_EQ((*hits)[i].id, std::to_string(row["hits"][i]["document"].get<int>()));
      EXPECT_NEAR((*hits)[i].score, row["hits"][i]["score"], 1e-12);
    }
  }
}

TEST_F(Bm25, EqualScoresKeepTheDocumentsOrder) {
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) texts.push_back(i % 2 == 0 ? "red fox" : "red owl");
  const auto index = Build("index", texts);
  EXPECT_EQ(Ids(*index, "fox", {.top = 3}), "0 2 4");
  EXPECT_EQ(Ids(*index, "owl red", {.top = 4}), "1 3 5 7");
  EXPECT_EQ(Ids(*index, "red", {.top = 5}), "0 1 2 3 4");
  EXPECT_EQ(Ids(*index, "fox owl", {.top = 40}), RankedIds(PlainBm25(texts, "fox owl", {})));
}

TEST_F(Bm25, TheIndexsOwnWeightsHoldUnlessOthersAreGiven) {
  const std::vector<std::string> texts = {"fox fox fox", "fox and some other words here", "owl",
                                          "bear", "elk"};
  const Bm25Weights own = {.k1 = 0.5, .b = 0.2};
  const auto index = Build("index", texts, {.weights = own});
  EXPECT_EQ(index->facts().weights.k1, 0.5);
  const auto score = [&](const Bm25SearchOptions& options) {
    return index->Search("fox", options)->front().score;
  };
  EXPECT_NEAR(score({}), PlainBm25(texts, "fox", own)[0], 1e-12);
  EXPECT_NEAR(score({.k1 = 2}), PlainBm25(texts, "fox", {2, 0.2})[0], 1e-12);
  EXPECT_NEAR(score({.b = 1}), PlainBm25(texts, "fox", {0.5, 1})[0], 1e-12);
}

TEST_F(Bm25, WeightsOutsideTheirRangeAreRefused) {
  const auto index = Build("index", {"fox"});
  const auto message = [&](const Bm25SearchOptions& options) {
    const auto hits = index->Search("fox", options);
    EXPECT_EQ(hits.status().code(), StatusCode::kInvalidArgument);
    return hits.status().message();
  };
  EXPECT_EQ(message({.k1 = -0.1}), "k1: want a number from 0 to 1000, found -0.1");
  EXPECT_EQ(message({.k1 = std::nan("")}), "k1: want a number from 0 to 1000, found nan");
  EXPECT_EQ(message({.k1 = INFINITY}), "k1: want a number from 0 to 1000, found inf");
  EXPECT_EQ(message({.b = 1.1}), "b: want a number from 0 to 1, found 1.1");
  EXPECT_EQ(message({.top = -1}), "top: want 0 or more, found -1");
  EXPECT_EQ(BuildAt(At("other"), {}, {.weights = {.b = -1}}).message(),
            "b: want a number from 0 to 1, found -1");
}

TEST_F(Bm25, WithoutASharedWordThereAreNoHits) {
  const auto index = Build("index", {"red fox", "", "owl"});
  for (const char* query : {"", " ", "bear", "?!.,;:-()\"'*", "fo", "foxes", "\n\t"}) {
    EXPECT_EQ(Ids(*index, query), "") << query;
  }
  EXPECT_EQ(Ids(*index, "fox", {.top = 0}), "");
}

TEST_F(Bm25, AQuerysOperatorsAreWords) {
  const auto index =
      Build("index", {"red fox", "red owl and not near or xor", "title fox", "id q", "elk"});
  EXPECT_EQ(Ids(*index, "fox AND owl").size(), 5u);  // 0, 1 and 2 in some order
  EXPECT_EQ(Ids(*index, "fox NOT owl").size(), 5u);
  EXPECT_EQ(Ids(*index, "-fox"), Ids(*index, "fox"));
  EXPECT_EQ(Ids(*index, "\"fox red\""), Ids(*index, "fox red"));
  EXPECT_EQ(Ids(*index, "(((((fox"), Ids(*index, "fox"));
  EXPECT_EQ(Ids(*index, "fo*"), "");
  EXPECT_EQ(Ids(*index, "title:fox"), Ids(*index, "title fox"));
  EXPECT_EQ(Ids(*index, "fox^1000 red"), Ids(*index, "fox 1000 red"));
  EXPECT_EQ(Ids(*index, "xor elk~2 ..5"), Ids(*index, "xor elk 2 5"));
}

TEST_F(Bm25, AQueryMayBeAnyBytes) {
  const auto index = Build("index", {"red fox", "owl"});
  EXPECT_EQ(Ids(*index, std::string("\0fox\0", 5)), "0");
  EXPECT_EQ(Ids(*index, "\xff\xfe fox \xc3"), "0");
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    std::string query(random() % 200, ' ');
    for (char& c : query) c = static_cast<char>(random());
    EXPECT_TRUE(index->Search(query).ok());
  }
}

TEST_F(Bm25, AVeryLongQueryIsCut) {
  const auto index = Build("index", {"red fox", "owl", "elk"});
  const std::string filler(static_cast<size_t>(kMaxQueryBytes) - 4, ' ');
  EXPECT_EQ(Ids(*index, filler + " fox owl"), "0");  // "fox" ends where the query is cut
  EXPECT_EQ(Ids(*index, filler + "  fox owl"), "");  // "fo"
  EXPECT_EQ(Ids(*index, std::string(10'000'000, 'x') + " fox"), "");
  std::string many;
  for (int i = 0; i < 10'000; ++i) many.append(" x").append(std::to_string(i));
  EXPECT_EQ(Ids(*index, many + " fox"), "0");  // words that no document holds take no place
  // Cut inside a character: its rest is no word of its own.
  const auto accents = Build("accents", {"\xc3\xa9", "e", "\xc3\x83"});
  EXPECT_EQ(Ids(*accents, std::string(static_cast<size_t>(kMaxQueryBytes) - 1, ' ') + "\xc3\xa9"),
            "");
}

TEST_F(Bm25, OfTooManyWordsTheRarestCount) {
  std::vector<std::string> texts(2);
  const int words = static_cast<int>(kMaxQueryWords);
  for (int i = 0; i < words; ++i) texts[0].append("x").append(std::to_string(i)).append(" ");
  texts[0] += "common";
  texts[1] = "common";
  const auto index = Build("index", texts);
  EXPECT_EQ(Ids(*index, texts[0]), "0");  // "common" is one too many
  EXPECT_EQ(Ids(*index, texts[0].substr(3)), "0 1");
}

TEST_F(Bm25, WordsAreUnicodeInLowerCase) {
  const auto index =
      Build("index", {"NAÏVE École", "Москва 2024", "ΣΟΦΙΑ", "東京都庁", "C++ and U.S.A. of 3.14",
                      "it's", "one\xe2\x80\x94two", "na\xc3\xafve-looking"});
  EXPECT_EQ(Ids(*index, "école"), "0");
  EXPECT_EQ(Ids(*index, "naïve"), "0 7");
  EXPECT_EQ(Ids(*index, "ecole"), "");  // accents count
  EXPECT_EQ(Ids(*index, "МОСКВА"), "1");
  EXPECT_EQ(Ids(*index, "2024"), "1");
  EXPECT_EQ(Ids(*index, "σοφια"), "2");
  EXPECT_EQ(Ids(*index, "東京"), "3");
  EXPECT_EQ(Ids(*index, "c++"), "4");
  EXPECT_EQ(Ids(*index, "USA"), "4");
  EXPECT_EQ(Ids(*index, "3.14"), "4");
  EXPECT_EQ(Ids(*index, "It's"), "5");
  EXPECT_EQ(Ids(*index, "TWO"), "6");
  EXPECT_EQ(Ids(*index, "looking"), "7");
}

TEST_F(Bm25, WordsOfMoreThan64BytesAreLeftOut) {
  const auto index = Build("index", {std::string(64, 'a') + " x", std::string(65, 'b') + " y"});
  EXPECT_EQ(Ids(*index, std::string(64, 'a')), "0");
  EXPECT_EQ(Ids(*index, std::string(65, 'b')), "");
  EXPECT_EQ(index->facts().words, 3);
}

TEST_F(Bm25, AStemStandsForItsWordsInTextAndQuery) {
  const std::vector<std::string> texts = {"the dogs were running", "a dog", "cats"};
  EXPECT_EQ(Ids(*Build("plain", texts), "dog run"), "1");
  const auto index = Build("english", texts, {.stem = "english"});
  EXPECT_EQ(index->facts().stem, "english");
  EXPECT_EQ(index->facts().words, 7);  // the stem in place of the word, not beside it
  EXPECT_EQ(Ids(*index, "Dogs runs"), "0 1");
  EXPECT_EQ(Ids(*index, "cat"), "2");
  // The plain formula over the stems.
  const std::vector<std::string> stems = {"the dog were run", "a dog", "cat"};
  const auto hits = index->Search("runs running dog");
  EXPECT_NEAR(hits->front().score, PlainBm25(stems, "run run dog", {})[0], 1e-12);
  EXPECT_THAT(BuildAt(At("other"), {}, {.stem = "klingon"}).message(),
              testing::StartsWith("stem: want one of arabic, "));
}

TEST_F(Bm25, ATitleIsSearchedWithTheText) {
  ASSERT_TRUE(BuildAt(At("index"), {{.id = "a", .text = "its text", .title = "The Fox"},
                                    {.id = "b", .text = "the fox"},
                                    {.id = "c", .text = "owl"}})
                  .ok());
  const auto index = Open("index");
  const auto hits = index->Search("fox");
  ASSERT_TRUE(hits.ok());
  ASSERT_EQ(hits->size(), 2u);
  EXPECT_EQ((*hits)[0].id, "b");
  EXPECT_EQ((*hits)[0].title, "");
  EXPECT_EQ((*hits)[1].title, "The Fox");
  EXPECT_EQ((*hits)[1].text, "its text");
  EXPECT_NEAR((*hits)[1].score, PlainBm25({"the fox its text", "the fox", "owl"}, "fox", {})[0],
              1e-12);
}

}  // namespace
}  // namespace onepass
