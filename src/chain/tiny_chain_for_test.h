// For tests: a tiny random base with a byte-level tokenizer, and random prompts for it. Everything
// is made on the spot, so nothing has to be downloaded.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/rng.h"
#include "engine/engine.h"
#include "prompt/soft_prompt.h"

namespace onepass {

// A tokenizer.json of the 256 bytes, ids 0 to 255, the merges "he", "th" and "the", and the special
// tokens <bos> 259, <eos> 260, <note> 261, </note> 262.
inline std::string TinyTokenizerJson() {
  const auto code_point = [](int byte) {
    const auto printable = [](int b) {
      return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
    };
    if (printable(byte)) return byte;
    int next = 256;
    for (int b = 0; b < byte; ++b) next += printable(b) ? 0 : 1;
    return next;
  };
  std::string vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    char entry[32];
    std::snprintf(entry, sizeof(entry), "%s\"\\u%04x\":%d", byte == 0 ? "" : ",", code_point(byte),
                  byte);
    vocabulary += entry;
  }
  vocabulary += R"(,"he":256,"th":257,"the":258)";
  std::string added;
  int id = 259;
  for (const char* token : {"<bos>", "<eos>", "<note>", "</note>"}) {
    added += (added.empty() ? "" : ",") + std::string(R"({"id":)") + std::to_string(id++) +
             R"(,"content":")" + token +
             R"(","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,)" +
             R"("special":true})";
  }
  return R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[)" + added +
         R"(],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,)" +
         R"("trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":)" +
         R"("ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},)" +
         R"("model":{"type":"BPE","dropout":null,"unk_token":null,)" +
         R"("continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,)" +
         R"("byte_fallback":false,"ignore_merges":false,"vocab":{)" + vocabulary +
         R"(},"merges":["t he","h e","t h"]}})";
}

inline ModelConfig TinyConfig() {
  ModelConfig config;
  config.architecture = "llama";
  config.vocab_size = 263;
  config.width = 32;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.feed_forward = 48;
  config.max_positions = 256;
  config.tied_head = true;
  return config;
}

// Writes the base to a folder of its own under the test's temporary one; the folder.
inline std::string WriteTinyBase(const std::string& name,
                                 const ModelConfig& config = TinyConfig()) {
  const std::string dir = ::testing::TempDir() + "/onepass_" + name;
  std::filesystem::remove_all(dir);
  const Status status = InitBase(config, DType::kF32, 20240601, dir);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(WriteFileAtomically(dir + "/tokenizer.json", TinyTokenizerJson()).ok());
  return dir;
}

inline std::unique_ptr<Base> LoadTinyBase(const std::string& dir, const std::string& backend) {
  Result<std::unique_ptr<Base>> base = LoadBase(dir, {.backend = backend, .thread_count = 1});
  EXPECT_TRUE(base.ok()) << base.status().message();
  return base.ok() ? std::move(base).value() : nullptr;
}

// Vectors of about the size that embeddings have, so that they matter as much.
inline SoftPrompt RandomPrompt(int64_t length, int64_t width, uint64_t seed) {
  SoftPrompt prompt;
  prompt.vectors = Buffer<float>(length, width);
  Rng rng(seed);
  for (float& value : prompt.vectors.span()) value = static_cast<float>(rng.Normal() * 0.5);
  prompt.content_hash = seed;
  return prompt;
}

}  // namespace onepass
