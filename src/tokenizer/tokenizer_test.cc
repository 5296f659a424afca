// What holds for tokenizers whatever the file: special tokens, bytes that are no text, long words,
// streams, threads.
#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <thread>

#include "core/quote.h"
#include "core/rng.h"
#include "tokenizer/bpe.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

std::unique_ptr<const Tokenizer> Load(const std::string& kind) {
  auto tokenizer =
      LoadTokenizerJson(ONEPASS_SOURCE_DIR "/tests/golden/tokenizer/" + kind + ".json");
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status().message();
    return nullptr;
  }
  return std::move(tokenizer).value();
}

const std::vector<std::string> kByteKinds = {"llama3", "gpt2", "smollm2", "llama2", "phi3"};

TEST(Tokenizer, SpecialTokenOfADocumentIsPlainText) {
  const auto tokenizer = Load("llama3");
  const TokenId special = *tokenizer->IdOf("<|special|>");
  EXPECT_TRUE(tokenizer->IsSpecial(special));
  const std::string text = "a<|special|>b";
  EXPECT_EQ(testing::PrintToString(tokenizer->Encode(text, {.parse_special = true})[1]),
            testing::PrintToString(special));
  const std::vector<TokenId> plain = tokenizer->Encode(text, {});
  for (const TokenId id : plain) EXPECT_FALSE(tokenizer->IsSpecial(id));
  EXPECT_EQ(tokenizer->Decode(plain, true), text);
}

TEST(Tokenizer, MergesAndWholeWordsNeverMakeASpecialTokenOfPlainText) {
  const std::string json = R"({"added_tokens": [{"id": 5, "content": "<x>", "special": true,
      "normalized": false}], "model": {"type": "BPE", "ignore_merges": true, "vocab":
      {"<": 0, "x": 1, ">": 2, "<x": 3, "x>": 4, "<x>": 5}, "merges": ["< x", "<x >"]}})";
  const auto tokenizer = ParseTokenizerJson(json, "test");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->Encode("<x>", {}), (std::vector<TokenId>{3, 2}));
  EXPECT_EQ((*tokenizer)->Encode("<x>", {.parse_special = true}), (std::vector<TokenId>{5}));
}

TEST(Tokenizer, InvalidUtf8IsReplacedBeforeAnything) {
  for (const std::string& kind : kByteKinds) {
    const auto tokenizer = Load(kind);
    const std::string bad =
        "a\xFF"
        "b\xE2\x82"
        "c\xED\xA0\x80"
        "d\xF0\x9F\x98";
    // As Python's errors="replace" has it: one mark for each maximal ill-formed part.
    const std::string repaired =
        "a\uFFFD"
        "b\uFFFD"
        "c\uFFFD\uFFFD\uFFFD"
        "d\uFFFD";
    EXPECT_EQ(tokenizer->Encode(bad, {}), tokenizer->Encode(repaired, {})) << kind;
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(bad, {}), true), repaired) << kind;
  }
}

TEST(Tokenizer, MegabyteWordsComeBack) {
  std::string mixed;
  Rng rng(11);
  for (int i = 0; i < 1 << 20; ++i) mixed.push_back("thean"[rng.Uniform(5)]);
  for (const std::string& kind : kByteKinds) {
    const auto tokenizer = Load(kind);
    for (const std::string& text :
         {std::string(1 << 20, 'a'), mixed, "a" + std::string(1 << 20, ' ')}) {
      EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text, {}), true), text) << kind;
    }
  }
}

TEST(Tokenizer, ThreadsShareOneTokenizer) {
  const auto tokenizer = Load("qwen2");
  const std::string text = "The caf\u00e9 is 42 <|special|> talking, they've said.\n\n  end";
  const std::vector<TokenId> want = tokenizer->Encode(text, {.parse_special = true});
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        const auto ids = tokenizer->Encode(text, {.parse_special = true});
        if (ids != want || tokenizer->Decode(ids, false) != text) ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(StreamDecoder, AnyIdsGiveWhatDecodeGives) {
  Rng rng(5);
  for (const char* kind : {"llama3", "gpt2", "llama2", "phi3", "metaspace_first", "metaspace_split",
                           "clip", "wordpieces"}) {
    const auto tokenizer = Load(kind);
    for (int round = 0; round < 200; ++round) {
      std::vector<TokenId> ids(rng.Uniform(30));
      // A few past the end: unknown ids give nothing.
      for (TokenId& id : ids)
        id = static_cast<TokenId>(rng.Uniform(tokenizer->Info().vocab_size + 3));
      for (const bool skip : {false, true}) {
        StreamDecoder decoder(*tokenizer, skip);
        std::string text;
        for (const TokenId id : ids) {
          const std::string part(decoder.Push(id));
          EXPECT_TRUE(IsUtf8(part));
          text += part;
        }
        EXPECT_EQ(text + decoder.Finish(), tokenizer->Decode(ids, skip)) << kind;
      }
    }
  }
}

TEST(StreamDecoder, TextComesAsSoonAsItIsCertain) {
  const auto tokenizer = Load("llama3");
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.Push(*tokenizer->IdOf("t")), "t");
  // The four bytes of a face; the last one completes it.
  const std::vector<TokenId> face = tokenizer->Encode("\U0001F600", {});
  std::string text;
  for (const TokenId id : face) {
    EXPECT_EQ(text, "");
    text += decoder.Push(id);
  }
  EXPECT_EQ(text, "\U0001F600");
  const auto llama2 = Load("llama2");
  StreamDecoder spaces(*llama2);
  EXPECT_EQ(spaces.Push(*llama2->IdOf("\u2581the")), "the");
  EXPECT_EQ(spaces.Push(*llama2->IdOf("\u2581the")), " the");
}

// The merge of lowest rank, leftmost first, by looking at all of them each time.
std::vector<TokenId> SlowMerge(const MergeTable& table, std::vector<TokenId> symbols) {
  while (true) {
    const MergeTable::Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const MergeTable::Merge* merge = table.Find(symbols[i], symbols[i + 1]);
      if (merge != nullptr && (best == nullptr || merge->rank < best->rank)) {
        best = merge;
        at = i;
      }
    }
    if (best == nullptr) return symbols;
    symbols[at] = best->merged;
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

TEST(MergeTable, ShortAndLongWordsMergeLikeTheSlowWay) {
  Rng rng(3);
  // Texts over two letters, joined at random: merging is concatenation, as in real files.
  std::vector<std::string> tokens = {"a", "b"};
  MergeTable table(60);
  for (uint32_t rank = 0; tokens.size() < 40; ++rank) {
    const size_t left = rng.Uniform(tokens.size());
    const size_t right = rng.Uniform(tokens.size());
    const std::string joined = tokens[left] + tokens[right];
    if (joined.size() > 9 || std::find(tokens.begin(), tokens.end(), joined) != tokens.end())
      continue;
    table.Set(static_cast<TokenId>(left), static_cast<TokenId>(right),
              {rank, static_cast<TokenId>(tokens.size())});
    tokens.push_back(joined);
  }
  for (int round = 0; round < 300; ++round) {
    std::vector<TokenId> word(1 + rng.Uniform(90));
    for (TokenId& id : word) id = static_cast<TokenId>(rng.Uniform(2));
    const std::vector<TokenId> want = SlowMerge(table, word);
    table.MergeAll(&word);
    EXPECT_EQ(word, want);
  }
}

}  // namespace
}  // namespace onepass
