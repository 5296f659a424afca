#include "train/prompt_init.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/rng.h"

namespace onepass {
namespace {

constexpr int64_t kSampledRows = 1024;  // of the embedding, for its mean and deviation

}  // namespace

Result<Buffer<float>> InitPrompt(PromptInit init, const std::string& text, int64_t prompt_length,
                                 uint64_t seed, const Transformer<float>& model,
                                 const Tokenizer& tokenizer) {
  const ModelConfig& config = model.config();
  Rng rng(seed);
  Buffer<float> vectors(prompt_length, config.width);
  std::vector<int32_t> ids(prompt_length);
  switch (init) {
    case PromptInit::kText: {
      const std::vector<TokenId> tokens = tokenizer.Encode(text, {});
      if (tokens.empty()) {
        return InvalidArgument("init_text: want at least one token, found none");
      }
      for (int64_t i = 0; i < prompt_length; ++i) ids[i] = tokens[i % tokens.size()];
      model.Embed(ids, vectors.view());
      return vectors;
    }
    case PromptInit::kVocabulary:
      for (int32_t& id : ids) id = static_cast<int32_t>(rng.Uniform(config.vocab_size));
      model.Embed(ids, vectors.view());
      return vectors;
    case PromptInit::kRandom:
      break;
  }
  Buffer<float> sample(std::min(kSampledRows, config.vocab_size), config.width);
  ids.resize(sample.rows());
  for (int64_t i = 0; i < sample.rows(); ++i) {
    ids[i] = static_cast<int32_t>(i * config.vocab_size / sample.rows());
  }
  model.Embed(ids, sample.view());
  double sum = 0;
  double square_sum = 0;
  for (float value : sample.span()) {
    sum += value;
    square_sum += static_cast<double>(value) * value;
  }
  const double count = static_cast<double>(sample.size());
  const double mean = sum / count;
  const double deviation = std::sqrt(std::max(0.0, square_sum / count - mean * mean));
  for (float& value : vectors.span()) {
    value = static_cast<float>(mean + deviation * rng.Normal());
  }
  return vectors;
}

}  // namespace onepass
