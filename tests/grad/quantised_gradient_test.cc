// The trained prompt's gradient through whole samples on a base in 8 and 4 bits. `ref` multiplies
// with the dequantised weights, forward and backward: against finite differences. `cpu` rounds
// activations in the forward: against `ref`, within what docs/formats/quantised.md states.
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "../gguf_twins.h"
#include "core/rng.h"
#include "core/thread_pool.h"
#include "engine/base_tokenizer.h"
#include "model/convert.h"
#include "prompt/soft_prompt.h"
#include "sample_case.h"
#include "world/world.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;

const std::string kModels = ONEPASS_SOURCE_DIR "/models/";

Buffer<double> Random(int64_t rows, int64_t cols, double deviation, Rng& rng) {
  Buffer<double> values(rows, cols);
  for (double& value : values.span()) value = deviation * rng.Normal();
  return values;
}

Buffer<double> VectorsOf(const std::string& prompt) {
  const SoftPrompt loaded = Must(LoadSoftPrompt(kModels + "prompts/world/" + prompt));
  Buffer<double> values(loaded.length(), loaded.width());
  std::ranges::copy(loaded.vectors.span(), values.data());
  return values;
}

// A base of which every matrix is whole blocks. The usual deviation of random weights, 0.02, would
// hardly turn an attention.
void WriteRandomBase(const std::string& dir, Rng& rng) {
  ModelConfig config = NamedShape("tiny").value();
  config.vocab_size = 37;
  config.width = 32;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.feed_forward = 64;
  config.tied_head = true;
  std::vector<std::vector<float>> values;
  std::vector<NamedTensor> tensors;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const bool is_norm = spec.shape.size() == 1;
    std::vector<float>& tensor = values.emplace_back(spec.shape[0] * (is_norm ? 1 : spec.shape[1]));
    for (float& v : tensor) v = static_cast<float>(0.2 * rng.Normal()) + (is_norm ? 1.0f : 0.0f);
    tensors.push_back({spec.name, {DType::kF32, spec.shape, std::as_bytes(std::span(tensor))}});
  }
  ASSERT_TRUE(MakeDirectories(dir).ok());
  ASSERT_TRUE(WriteSafetensors(dir + "/model.safetensors", tensors, {}).ok());
  ASSERT_TRUE(WriteFileAtomically(dir + "/config.json", ConfigToJson(config, DType::kF32)).ok());
}

// Records of the generated world, as the demo's chains lay them out, with outputs of other records:
// of their own the prompts' loss is 0.002, and little is left of a gradient but rounding.
nlohmann::json WorldSamples(const Tokenizer& tokenizer, int64_t count) {
  const auto ids = [&](const std::string& text) {
    return tokenizer.Encode(text, {.parse_special = true});
  };
  nlohmann::json samples;
  for (int64_t i = 0; i < count; ++i) {
    const CompressQaSample sample = MakeCompressQaSample(Split::kValidation, 1, i);
    const CompressQaSample other = MakeCompressQaSample(Split::kValidation, 1, count + i);
    // Of the first output one token is given: the last one of its label.
    samples.push_back({{"S", ids("Question: " + sample.shared_input)},
                       {"I_A", ids("\nDocuments:\n" + sample.documents + "\nFacts")},
                       {"O_A", ids(":" + other.summary)},
                       {"T", ids(other.summary)},
                       {"I_B", ids("\nAnswer:")},
                       {"O_B", ids(other.answer)}});
  }
  return {{"samples", samples}, {"end_token", 1}};
}

class QuantisedGradient : public ::testing::TestWithParam<std::tuple<BlockType, std::string>> {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "onepass-quantised-gradient-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  BlockType type() const { return std::get<0>(GetParam()); }
  nlohmann::json Case() const {
    const nlohmann::json& cases = goldens_.json["cases"];
    const std::string& name = std::get<1>(GetParam());
    const auto at = std::ranges::find_if(cases, [&](const auto& c) { return c["name"] == name; });
    ONEPASS_CHECK(at != cases.end(), name);
    return *at;
  }
  std::string Converted(const std::string& base) {
    ThreadPool pool(2);
    Must(ConvertBase(*Must(Checkpoint::Open(base)), {.weights = type(), .head = type()},
                     dir_ + "/converted", pool, {}));
    return dir_ + "/converted";
  }

  const SampleGoldens goldens_ = SampleGoldens::Load();
  std::string dir_;
};
using QuantisedGradientOfRef = QuantisedGradient;
using QuantisedGradientOfCpu = QuantisedGradient;

TEST_P(QuantisedGradientOfRef, AgreesWithFiniteDifferencesInDouble) {
  SCOPED_TRACE("seed 5");
  Rng rng(5);
  WriteRandomBase(dir_ + "/dense", rng);
  const SampleSetup setup{goldens_.json, Converted(dir_ + "/dense"), Random(5, 32, 0.5, rng),
                          Random(4, 32, 0.5, rng)};
  const auto ops = MakeRefOpsDouble();
  SampleCase<double> sample(setup, Case(), *ops, false);
  ExpectFiniteDifferences(sample);
}

// A GGUF file, of types that convert does not write too: on `ref` the very gradient that the
// values of its blocks give.
TEST(QuantisedGradientOfGguf, IsThatOfTheValuesInItsBlocks) {
  const std::string dir = ::testing::TempDir() + "onepass-gguf-gradient";
  fs::remove_all(dir);
  ASSERT_TRUE(MakeDirectories(dir).ok());
  const SampleGoldens goldens = SampleGoldens::Load();
  using enum BlockType;
  for (const TwinTypes& types : {TwinTypes{kQ8_0, kQ8_0}, {kQ4_0, kQ8_0}, {kQ4_K, kQ6_K}}) {
    SCOPED_TRACE(std::string(FormatOf(types.type).name) + ", seed 11");
    WriteTwins(types, 11, dir + "/base.gguf", dir + "/folder");
    for (const nlohmann::json& one : goldens.json["cases"]) {
      SCOPED_TRACE(one["name"].get<std::string>());
      const auto gradient = [&](const std::string& base) {
        Rng rng(6);
        const SampleSetup setup{goldens.json, dir + base, Random(5, 256, 0.5, rng),
                                Random(4, 256, 0.5, rng)};
        const auto ops = MakeRefOpsFloat();
        SampleCase<float> sample(setup, one, *ops, false);
        return GradientOf(sample);
      };
      const Buffer<float> want = gradient("/folder");
      const Buffer<float> found = gradient("/base.gguf");
      EXPECT_TRUE(std::ranges::equal(found.span(), want.span()));
      EXPECT_GT(*std::ranges::max_element(want.span()), 0);
    }
  }
}

TEST_P(QuantisedGradientOfCpu, IsNearRefOnTheBaseThatShips) {
  ASSERT_TRUE(fs::exists(kModels + "base/model.safetensors")) << kModels;
  const auto tokenizer = Must(LoadBaseTokenizer(kModels + "base"));
  // An answer is a few tokens only.
  const int64_t count = Case()["stage"] == 0 ? 16 : 48;
  const SampleSetup setup{WorldSamples(*tokenizer, count), Converted(kModels + "base"),
                          VectorsOf("compress"), VectorsOf("answer-fthss")};
  const auto gradient = [&](const char* backend) {
    const auto ops = Must(MakeOps(backend, {.thread_count = 2}));
    SampleCase<float> sample(setup, Case(), *ops, false);
    return GradientOf(sample);
  };
  const Buffer<float> want = gradient("ref");
  const Buffer<float> found = gradient("cpu");
  double dot = 0;
  double want_squares = 0;
  double found_squares = 0;
  double error_squares = 0;
  for (int64_t i = 0; i < want.size(); ++i) {
    const double w = want.data()[i];
    const double f = found.data()[i];
    dot += w * f;
    want_squares += w * w;
    found_squares += f * f;
    error_squares += (f - w) * (f - w);
  }
  ASSERT_GT(want_squares, 0);
  const bool is_eight = type() == BlockType::kQ8_0;
  EXPECT_LT(std::sqrt(error_squares / want_squares), is_eight ? 0.13 : 0.21);
  EXPECT_GT(dot / std::sqrt(want_squares * found_squares), is_eight ? 0.995 : 0.993);
  // Rounding is seen: the products are not ref's.
  EXPECT_GT(error_squares, 1e-4 * want_squares);
}

std::string TypeAndCase(const ::testing::TestParamInfo<QuantisedGradient::ParamType>& info) {
  const auto& [type, name] = info.param;
  return std::string(FormatOf(type).name) + "_" + name;
}
const auto kTypes = ::testing::Values(BlockType::kQ8_0, BlockType::kQ4_0);
INSTANTIATE_TEST_SUITE_P(
    Cases, QuantisedGradientOfRef,
    ::testing::Combine(kTypes, ::testing::Values("standard_a_front", "standard_a_inline",
                                                 "standard_b_front", "standard_b_inline",
                                                 "fthss_b_front", "fthss_b_inline")),
    TypeAndCase);
// Stages, placement and hand-offs as the prompts were trained.
INSTANTIATE_TEST_SUITE_P(Cases, QuantisedGradientOfCpu,
                         ::testing::Combine(kTypes,
                                            ::testing::Values("standard_a_front", "fthss_b_front")),
                         TypeAndCase);

}  // namespace
}  // namespace onepass
