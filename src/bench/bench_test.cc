// The measurements measure what they say: counts are checked, times are not.
#include <filesystem>
#include <fstream>
#include <limits>

#include "bench/bench_base.h"
#include "bench/handoff.h"
#include "bench/kv_memory.h"
#include "bench/speed.h"
#include "bench/train_step.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint.h"

namespace onepass {
namespace {

ModelConfig TinyBenchConfig() {
  ModelConfig config;
  config.architecture = "llama";
  config.vocab_size = 50;
  config.width = 16;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 4;
  config.feed_forward = 24;
  config.max_positions = 256;
  return config;
}

class BenchTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/bench_test_base";
    ASSERT_TRUE(InitBase(TinyBenchConfig(), DType::kF32, 1, folder_).ok());
    options_.base.model = folder_;
    options_.base.thread_count = 1;
    options_.base.memory_bytes = 1 << 20;
    options_.lengths = {64, 96};
    options_.prompt_length = 32;
    options_.shared_tokens = 32;
    options_.input_tokens = 3;
    options_.output_tokens = 2;
    options_.runs = 1;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  BenchCell Cell(const BenchReport& report, size_t row, const std::string& column) {
    for (size_t i = 0; i < report.columns.size(); ++i) {
      if (report.columns[i] == column) return report.rows[row][i];
    }
    ADD_FAILURE() << "no column " << column;
    return {};
  }
  int64_t Count(const BenchReport& report, size_t row, const std::string& column) {
    return std::get<int64_t>(Cell(report, row, column));
  }
  double Number(const BenchReport& report, size_t row, const std::string& column) {
    return std::get<double>(Cell(report, row, column));
  }

  std::string folder_;
  HandoffBenchOptions options_;
  KvMemoryOptions memory_{
      .base = {}, .lengths = {384, 64}, .prompt_length = 32, .shared_tokens = 32, .rounds = 2};
};

TEST_F(BenchTest, KvHandoffPrefillsTheOwnInputOnly) {
  const auto report = BenchHandoff(options_);
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_EQ(report->rows.size(), 6u);
  // text: P + S + text + I; text-cached: text + I; kv: I.
  EXPECT_EQ(Count(*report, 0, "tokens_prefilled"), 32 + 32 + 64 + 3);
  EXPECT_EQ(Count(*report, 1, "tokens_prefilled"), 64 + 3);
  EXPECT_EQ(Count(*report, 2, "tokens_prefilled"), 3);
  EXPECT_EQ(Count(*report, 3, "tokens_prefilled"), 32 + 32 + 96 + 3);
  EXPECT_EQ(Count(*report, 5, "tokens_prefilled"), 3);
}

TEST_F(BenchTest, HandoffRefusesMorePositionsThanTheBaseHas) {
  options_.lengths = {200};
  const auto report = BenchHandoff(options_);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("want at most 256 positions, found 301"),
            std::string::npos)
      << report.status().message();
}

TEST_F(BenchTest, TheConstantPartOfATrainingStepCostsNoTapeAndChangesNoLoss) {
  TrainStepOptions options{.base = options_.base,
                           .prompt_length = 8,
                           .token_count = 60,
                           .shared_tokens = 4,
                           .output_a_tokens = 10,
                           .input_b_tokens = 5,
                           .output_b_tokens = 6,
                           .repeats = 1};
  std::vector<double> losses;
  std::vector<int64_t> tape_bytes;
  for (const TapeMode mode : {TapeMode::kKeepActivations, TapeMode::kRecomputeActivations}) {
    options.tape_mode = mode;
    const auto report = BenchTrainStep(options);
    ASSERT_TRUE(report.ok()) << report.status().message();
    ASSERT_EQ(report->rows.size(), 2u);
    // Prompt, input and output of the second stage; what it reads, but for the first prompt, which
    // was written before.
    EXPECT_EQ(Count(*report, 0, "taped_tokens"), 8 + 5 + 6);
    EXPECT_EQ(Count(*report, 0, "constant_tokens"), 60 - 5 - 6);
    EXPECT_EQ(Count(*report, 1, "taped_tokens"), 2 * 8 + 60);
    EXPECT_EQ(Count(*report, 1, "constant_tokens"), 0);
    EXPECT_LT(Count(*report, 0, "tape_bytes"), Count(*report, 1, "tape_bytes"));
    for (size_t row = 0; row < 2; ++row) {
      tape_bytes.push_back(Count(*report, row, "tape_bytes"));
      losses.push_back(std::get<double>(report->rows[row].back()));
    }
  }
  EXPECT_GT(losses[0], 0);
  EXPECT_THAT(losses, testing::Each(losses[0]));
  EXPECT_LT(tape_bytes[2], tape_bytes[0]);
  EXPECT_LT(tape_bytes[3], tape_bytes[1]);
}

TEST_F(BenchTest, ATrainingStepRefusesLengthsThatDoNotFit) {
  TrainStepOptions options{.base = options_.base};
  EXPECT_EQ(options.Validate().message(), "");
  for (int64_t TrainStepOptions::*field :
       {&TrainStepOptions::prompt_length, &TrainStepOptions::shared_tokens,
        &TrainStepOptions::output_a_tokens, &TrainStepOptions::input_b_tokens,
        &TrainStepOptions::output_b_tokens, &TrainStepOptions::batch_size}) {
    TrainStepOptions wrong = options;
    wrong.*field = 0;
    EXPECT_EQ(wrong.Validate().code(), StatusCode::kInvalidArgument);
  }
  options.repeats = 0;
  EXPECT_EQ(options.Validate().message(), "repeats: want 1 or more, found 0");
  options.repeats = 1;
  options.token_count = 24 + 128 + 24 + 24;
  EXPECT_EQ(options.Validate().message(), "tokens: want 201 or more, found 200");
  options.token_count = 201;
  EXPECT_EQ(BenchTrainStep(options).status().message(),
            "bench: want at most 256 positions, found 401 (context, text, prompts and steps)");
}

TEST_F(BenchTest, KvMemoryIsOneCopyWhateverTheModels) {
  memory_.base = options_.base;
  const auto report = BenchKvMemory(memory_);
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_EQ(report->rows.size(), 2u * 3 * 3);
  const int64_t token = TinyBenchConfig().Layout(32, DType::kF32).TokenBytes();
  // 384 tokens in 2 rounds of 1, 2 and 3 models: outputs of whole pages.
  for (int64_t models = 1; models <= 3; ++models) {
    const auto of = [&](int handoff, const char* column) {
      return Count(*report, handoff * 3 + models - 1, column);
    };
    for (int handoff = 0; handoff < 3; ++handoff) {
      EXPECT_EQ(of(handoff, "models"), models);
      EXPECT_EQ(of(handoff, "peak_bytes"), of(handoff, "predicted_bytes"));
    }
    const int64_t output = 384 / (2 * models);
    // text: the last step's own cache. text-cached: each model's prompt, own outputs and what it
    // read of the others', but for the last output, which only its writer has. kv: one copy.
    EXPECT_EQ(of(0, "peak_bytes"), token * (32 + 32 + 384));
    EXPECT_EQ(of(2, "peak_bytes"), token * (models * 32 + 32 + 384));
    if (models == 1) EXPECT_EQ(of(1, "peak_bytes"), of(2, "peak_bytes"));
    if (models > 1) EXPECT_GT(of(1, "peak_bytes"), of(2, "peak_bytes"));
    EXPECT_EQ(of(2, "recomputed_tokens"), 0);
    // Each output but the last is read by every other model; of the last round by those behind.
    int64_t read = 0;
    for (int64_t writer = 0; writer < 2 * models; ++writer) {
      for (int64_t reader = 0; reader < models; ++reader) {
        const bool later = reader + models > writer;  // it runs once more behind the writer
        if (reader != writer % models && later) read += output;
      }
    }
    EXPECT_EQ(of(1, "recomputed_tokens"), read);
  }
}

TEST_F(BenchTest, KvMemoryIsThatOfItsType) {
  memory_.base = options_.base;
  const auto wide = BenchKvMemory(memory_);
  ASSERT_TRUE(wide.ok()) << wide.status().message();
  const int64_t wide_token = TinyBenchConfig().Layout(32, DType::kF32).TokenBytes();
  for (const DType dtype : {DType::kBF16, DType::kI8}) {
    memory_.kv_dtype = dtype;
    const auto narrow = BenchKvMemory(memory_);
    ASSERT_TRUE(narrow.ok()) << narrow.status().message();
    const int64_t narrow_token = TinyBenchConfig().Layout(32, dtype).TokenBytes();
    for (size_t row = 0; row < narrow->rows.size(); ++row) {
      EXPECT_EQ(Count(*narrow, row, "peak_bytes") * wide_token,
                Count(*wide, row, "peak_bytes") * narrow_token);
    }
  }
  memory_.rounds = 1000;
  EXPECT_EQ(BenchKvMemory(memory_).status().message(), "bench: rounds: want 1 to 341, found 1000");
}

TEST_F(BenchTest, PrefillAndDecodeReportARowForEachSize) {
  const auto prefill = BenchPrefill({.base = options_.base, .token_counts = {5, 40}, .repeats = 1});
  ASSERT_TRUE(prefill.ok()) << prefill.status().message();
  ASSERT_EQ(prefill->rows.size(), 2u);
  EXPECT_EQ(Count(*prefill, 1, "tokens"), 40);
  const auto decode = BenchDecode({.base = options_.base,
                                   .context_tokens = 40,
                                   .step_count = 3,
                                   .batch_sizes = {1, 2},
                                   .repeats = 1});
  ASSERT_TRUE(decode.ok()) << decode.status().message();
  ASSERT_EQ(decode->rows.size(), 2u);
  EXPECT_EQ(Count(*decode, 1, "batch"), 2);
  EXPECT_EQ(BenchPrefill({.base = options_.base, .token_counts = {0}}).status().message(),
            "bench: tokens: want 1 to 1000000, found 0");
}

TEST_F(BenchTest, NarrowerKvIsNamedAndReadInFewerBytes) {
  ModelConfig config = TinyBenchConfig();
  config.head_dim = 8;  // of 4, a row in int8 and its scale are as long as one in bf16
  std::filesystem::remove_all(folder_);
  ASSERT_TRUE(InitBase(config, DType::kF32, 1, folder_).ok());
  double bytes_before = std::numeric_limits<double>::infinity();
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    const auto prefill = BenchPrefill(
        {.base = options_.base, .kv_dtype = dtype, .token_counts = {40}, .repeats = 1});
    ASSERT_TRUE(prefill.ok()) << prefill.status().message();
    EXPECT_THAT(prefill->facts,
                testing::Contains(testing::Pair("kv", BenchCell(std::string(KvTypeName(dtype))))));
    const auto decode = BenchDecode({.base = options_.base,
                                     .kv_dtype = dtype,
                                     .context_tokens = 40,
                                     .step_count = 3,
                                     .batch_sizes = {2},
                                     .repeats = 1});
    ASSERT_TRUE(decode.ok()) << decode.status().message();
    EXPECT_THAT(decode->facts,
                testing::Contains(testing::Pair("kv", BenchCell(std::string(KvTypeName(dtype))))));
    const double bytes = Number(*decode, 0, "mb_per_step");
    EXPECT_GT(bytes, 0);
    EXPECT_LT(bytes, bytes_before);
    bytes_before = bytes;
  }
}

TEST_F(BenchTest, PrefillAndDecodeRefuseMorePositionsThanTheBaseHas) {
  const auto base = LoadBenchBase(folder_, options_.base);
  ASSERT_TRUE(base.ok()) << base.status().message();
  EXPECT_TRUE(TimePrefill(**base, {.token_count = 256, .repeats = 1}).ok());
  EXPECT_EQ(TimePrefill(**base, {.token_count = 257, .repeats = 1}).status().message(),
            "bench: want at most 256 positions, found 257 (context, text, prompts and steps)");
  EXPECT_TRUE(TimeDecode(**base, {.context_tokens = 253, .step_count = 3, .repeats = 1}).ok());
  EXPECT_EQ(
      TimeDecode(**base, {.context_tokens = 253, .step_count = 4, .repeats = 1}).status().message(),
      "bench: want at most 256 positions, found 257 (context, text, prompts and steps)");
}

TEST_F(BenchTest, KvBeyondTheMachinesMemoryIsRefused) {
  ModelConfig config = TinyBenchConfig();
  config.kv_heads = 4;
  config.head_dim = 64;
  config.max_positions = int64_t{1} << 30;
  std::filesystem::remove_all(folder_);
  ASSERT_TRUE(InitBase(config, DType::kF32, 1, folder_).ok());
  const auto base = LoadBenchBase(folder_, options_.base);
  ASSERT_TRUE(base.ok()) << base.status().message();
  // 4 KB a token: pages of 131,072 bytes; a decode takes two beyond its context's.
  EXPECT_THAT(TimePrefill(**base, {.token_count = int64_t{1} << 30}).status().message(),
              testing::AllOf(testing::StartsWith("bench: want at most "),
                             testing::HasSubstr(" MB of KV, found 4398047")));
  // More pages than 32 bits number.
  EXPECT_THAT(
      TimeDecode(**base, {.batch_size = 100'000, .context_tokens = 1'000'000}).status().message(),
      testing::AllOf(testing::StartsWith("bench: want at most "),
                     testing::HasSubstr(" MB of KV, found 409652429")));
}

TEST_F(BenchTest, RandomBaseIsRemovedAndTheCallersStays) {
  std::string path;
  {
    BenchBaseOptions options{.shape = "tiny", .scratch = testing::TempDir()};
    const auto folder = BenchFolder::Create(options);
    ASSERT_TRUE(folder.ok()) << folder.status().message();
    path = folder->path();
    EXPECT_TRUE(std::filesystem::exists(path + "/config.json"));
    ASSERT_TRUE(BenchFolder::Create(options_.base).ok());
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/config.json"));
}

}  // namespace
}  // namespace onepass
