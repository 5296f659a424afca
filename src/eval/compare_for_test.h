// For tests of comparisons: a suite of four methods over a tiny base.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "chain/tiny_chain_for_test.h"
#include "eval/compare.h"
#include "eval/suite.h"

namespace onepass {

inline constexpr int64_t kPromptLength = 4;

inline void Save(const std::string& dir, uint64_t seed) {
  const SoftPrompt prompt = RandomPrompt(kPromptLength, TinyConfig().width, seed);
  ASSERT_TRUE(MakeDirectories(dir).ok());
  const Status status = SaveSoftPrompt(prompt, dir);
  ASSERT_TRUE(status.ok()) << status.message();
}

// A folder with a tiny base, a two-stage chain, prompts of two seeds and three records.
class CompareTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = WriteTinyBase("compare_test");
    Write("chain.yaml",
          "base: .\nshared: \"{Q}\\n\"\nstages:\n"
          "  - {name: a, prompt: none, input: \"{D}\\n\", start: <bos>, stop_tokens: [<eos>], "
          "max_tokens: 6}\n"
          "  - {name: b, prompt: none, start: <bos>, stop_tokens: [<eos>], max_tokens: 4}\n");
    Write("plain.yaml", "base: .\nstages:\n  - {name: only, input: \"{Q}\", max_tokens: 3}\n");
    Write("data.jsonl",
          "{\"Q\": \"who\", \"D\": \"the one\", \"O\": \"he\", \"also\": [\"she\", \"they\"]}\n"
          "{\"Q\": \"what\", \"D\": \"that\", \"O\": \" it \", \"also\": []}\n"
          "{\"Q\": \"when\", \"D\": \"then\", \"O\": \"now\", \"also\": \"soon\"}\n");
    for (const int seed : {1, 2}) {
      Save(dir_ + "/prompts/" + std::to_string(seed) + "/a", static_cast<uint64_t>(10 * seed));
      Save(dir_ + "/prompts/" + std::to_string(seed) + "/b", static_cast<uint64_t>(10 * seed + 1));
    }
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(dir_ + "/" + name, text).ok());
  }

  SuiteSpec Suite() {
    const Result<SuiteSpec> suite = ParseSuite(
        "data: data.jsonl\nprompts: prompts/{seed}\ngold: O\naliases: also\nseeds: [1, 2]\n"
        "methods:\n"
        "  - {method: plain, chain: plain.yaml}\n"
        "  - {method: text, chain: chain.yaml, handoff: text, prompts: {a: a, b: b}}\n"
        "  - {method: cached, chain: chain.yaml, handoff: text-cached, prompts: {a: a, b: b}}\n"
        "  - {method: kv, chain: chain.yaml, handoff: kv, prompts: {a: a, b: b}, answer: b}\n",
        dir_ + "/suite.yaml");
    EXPECT_TRUE(suite.ok()) << suite.status().message();
    return *suite;
  }

  std::string dir_;
};

inline CompareOptions On(const std::string& out) {
  return {.out = out, .base = {.backend = "ref", .thread_count = 1}};
}

}  // namespace onepass
