// llama.cpp's conformance files, against whatever a tokenizer was read from.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/file.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

inline std::string Streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids,
                            bool skip) {
  StreamDecoder decoder(tokenizer, skip);
  std::string text;
  for (const TokenId id : ids) text += decoder.Push(id);
  return text + decoder.Finish();
}

// The tokenizer gives the ids of llama.cpp's conformance files FOLDER/STEM.inp and .out, and the
// texts back.
inline void CheckConformance(const Tokenizer& tokenizer, const std::string& folder,
                             const std::string& stem) {
  const Result<std::string> inputs = ReadFile(folder + stem + ".inp");
  const Result<std::string> outputs = ReadFile(folder + stem + ".out");
  ASSERT_TRUE(inputs.ok() && outputs.ok());
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::istringstream lines(*outputs);
  size_t count = 0;
  for (size_t begin = 0; begin <= inputs->size(); ++count) {
    const size_t end = std::min(inputs->find(separator, begin), inputs->size());
    const std::string text = inputs->substr(begin, end - begin);
    begin = end + separator.size();
    std::string line;
    ASSERT_TRUE(std::getline(lines, line) || text.empty());
    std::istringstream numbers(line);
    std::vector<TokenId> want;
    for (TokenId id; numbers >> id;) want.push_back(id);
    const std::vector<TokenId> ids = tokenizer.Encode(text, {});
    EXPECT_EQ(ids, want) << "text " << nlohmann::json(text).dump();
    EXPECT_EQ(tokenizer.Decode(ids, false), text);
    EXPECT_EQ(Streamed(tokenizer, ids, false), text);
  }
  EXPECT_GE(count, 40u);
}

}  // namespace onepass
