// A folder with everything that a tiny training needs: a random base with a character tokenizer, a
// chain of two stages, records, and recipes for its prompts.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/rng.h"
#include "events.pb.h"
#include "format/safetensors.h"
#include "model/checkpoint.h"
#include "train/run_log.h"
#include "train/trainer.h"

namespace onepass {

class TrainFolder {
 public:
  // A new folder of this name with base/, chain.yaml, one_stage.yaml, train.jsonl, valid.jsonl,
  // a.yaml, b.yaml.
  explicit TrainFolder(const std::string& name)
      : path_(::testing::TempDir() + "/onepass_train_" + name) {
    std::filesystem::remove_all(path_);
    Write("chain.yaml",
          "name: toy\n"
          "base: base\n"
          "shared: \"{Q}\\n\"\n"
          "stages:\n"
          "  - name: a\n"
          "    prompt: a/best\n"
          "    input: \"{DOC}\\n\"\n"
          "    start: \"<bos>\"\n"
          "    stop_tokens: [\"<eos>\"]\n"
          "  - name: b\n"
          "    prompt: b/best\n"
          "    input: \"{Q}?\\n\"\n"
          "    start: \"<bos>\"\n"
          "    stop_tokens: [\"<eos>\"]\n");
    Write("one_stage.yaml",
          "name: one\nbase: base\nshared: \"{Q}\\n\"\nstages:\n  - name: all\n"
          "    prompt: d/best\n    input: \"{DOC}\\n\"\n    start: \"<bos>\"\n"
          "    stop_tokens: [\"<eos>\"]\n");
    Write("train.jsonl", Records(24, 1));
    Write("valid.jsonl", Records(5, 2));
    const std::string common =
        "chain: chain.yaml\ndata: train.jsonl\nvalidation_data: valid.jsonl\noutputs: O_A,O_B\n"
        "prompt_length: 6\ninit: vocabulary\nlearning_rate: 0.05\nbatch_size: 4\naccumulation: 1\n"
        "threads: 1\n";
    Write("a.yaml", common + "kind: standard\nstage: a\nout: a\n");
    Write("b.yaml", common + "kind: fthss\nstage: b\nout: b\n");
    MakeBase();
  }

  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  void Write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(Path(name)).parent_path());
    const Status status = WriteFileAtomically(Path(name), text);
    ONEPASS_CHECK(status.ok(), status.message());
  }
  std::string Read(const std::string& name) const {
    Result<std::string> text = ReadFile(Path(name));
    ONEPASS_CHECK(text.ok(), text.status().message());
    return std::move(text).value();
  }

  Result<TrainReport> Train(const std::string& recipe, std::vector<std::string> overrides,
                            bool restart = false) const {
    ASSIGN_OR_RETURN(const Recipe parsed, LoadRecipe(Path(recipe), overrides));
    return onepass::Train(parsed, {.restart = restart});
  }

  // Losses of out/metrics.jsonl: {step, loss} and {step, validation_loss}, in the file's order.
  std::vector<nlohmann::json> Losses(const std::string& out) const {
    std::vector<nlohmann::json> losses;
    std::istringstream lines(Read(out + "/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      nlohmann::json json = nlohmann::json::parse(line);
      json.erase("seconds");
      losses.push_back(json);
    }
    return losses;
  }

  // The scalars of out's TensorBoard file, in its order. Frames that do not check out fail the
  // test.
  struct Scalar {
    int64_t step = 0;
    std::string tag;
    float value = 0;
    friend bool operator==(const Scalar&, const Scalar&) = default;
  };
  std::vector<Scalar> Scalars(const std::string& out) const {
    const std::string file = Read(out + "/events.out.tfevents.0.onepass");
    std::vector<Scalar> scalars;
    for (size_t at = 0; at < file.size();) {
      uint64_t length = 0;
      ONEPASS_CHECK(file.size() - at >= 16, "a frame has 16 bytes besides its data");
      std::memcpy(&length, file.data() + at, sizeof(length));
      ONEPASS_CHECK(file.size() - at - 16 >= length, "a frame ends within the file");
      const std::string data = file.substr(at + 12, length);
      EXPECT_EQ(file.substr(at, length + 16), FrameRecord(data));
      events::Event event;
      EXPECT_TRUE(event.ParseFromString(data));
      EXPECT_GT(event.wall_time(), 0);
      for (const events::Scalar& scalar : event.summary().value()) {
        scalars.push_back({event.step(), scalar.tag(), scalar.simple_value()});
      }
      at += length + 16;
    }
    return scalars;
  }

  static std::string Records(int count, uint64_t seed) {
    const std::vector<std::string> names = {"Ann", "Bob", "Cid", "Dot"};
    const std::vector<std::string> things = {"hat", "cup", "map", "pen"};
    Rng rng(seed);
    std::string text;
    for (int i = 0; i < count; ++i) {
      const std::string name = rng.Pick(names);
      const std::string thing = rng.Pick(things);
      std::string doc = name + " has a " + thing + ".";
      for (uint64_t extra = rng.Uniform(3); extra > 0; --extra) {
        doc += " " + rng.Pick(names) + " has no " + rng.Pick(things) + ".";
      }
      text += nlohmann::json{{"Q", "What has " + name},
                             {"DOC", doc},
                             {"O_A", name + " has a " + thing},
                             {"O_B", thing}}
                  .dump() +
              "\n";
    }
    return text;
  }

 private:
  void MakeBase() const {
    nlohmann::json tokenizer = {
        {"version", "1.0"},
        {"normalizer", nullptr},
        {"pre_tokenizer", nullptr},
        {"post_processor", nullptr},
        {"decoder", {{"type", "Fuse"}}},
        {"model", {{"type", "BPE"}, {"unk_token", "<unk>"}, {"merges", nlohmann::json::array()}}}};
    nlohmann::json& vocab = tokenizer["model"]["vocab"];
    for (const char* special : {"<unk>", "<bos>", "<eos>"}) {
      const size_t id = vocab.size();
      vocab[special] = id;
      tokenizer["added_tokens"].push_back({{"id", id},
                                           {"content", special},
                                           {"single_word", false},
                                           {"lstrip", false},
                                           {"rstrip", false},
                                           {"normalized", false},
                                           {"special", true}});
    }
    vocab["\n"] = vocab.size();
    for (char c = ' '; c <= '~'; ++c) {
      const size_t id = vocab.size();
      vocab[std::string(1, c)] = id;
    }
    ModelConfig config;
    config.architecture = "llama";
    config.vocab_size = static_cast<int64_t>(vocab.size());
    config.width = 32;
    config.layers = 2;
    config.heads = 4;
    config.kv_heads = 2;
    config.head_dim = 8;
    config.feed_forward = 48;
    config.max_positions = 512;
    config.tied_head = true;
    const Status status = InitBase(config, DType::kF32, 11, Path("base"));
    ONEPASS_CHECK(status.ok(), status.message());
    Write("base/tokenizer.json", tokenizer.dump());
    EnlargeWeights();
  }

  // Random weights of the usual deviation, 0.02, hardly move the residual stream of so narrow a
  // base, and its prompts learn nothing. Ten times as large they do.
  void EnlargeWeights() const {
    const std::string path = Path("base/model.safetensors");
    Result<std::shared_ptr<const SafetensorsFile>> file = SafetensorsFile::Open(path);
    ONEPASS_CHECK(file.ok(), file.status().message());
    std::vector<Buffer<float>> buffers;
    std::vector<NamedTensor> tensors;
    for (const auto& [name, tensor] : (*file)->tensors()) {
      Buffer<float>& buffer = buffers.emplace_back(1, tensor.element_count());
      ConvertTo<float>(tensor, 0, buffer.size(), buffer.data());
      if (tensor.shape.size() == 2) {
        for (float& weight : buffer.span()) weight *= 10;
      }
      tensors.push_back({name, {DType::kF32, tensor.shape, std::as_bytes(buffer.span())}});
    }
    const Status status = WriteSafetensors(path, tensors, {});
    ONEPASS_CHECK(status.ok(), status.message());
  }

  std::string path_;
};

}  // namespace onepass
