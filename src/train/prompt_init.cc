#include "train/prompt_init.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/rng.h"
#include "model/weights.h"

namespace onepass {
namespace {

constexpr int64_t kSampledRows = 1024;  // of the embedding, for its mean and deviation

// Normal numbers of the mean and deviation of the base's embedding entries.
void FillAsEmbeddings(const Transformer<float>& model, Rng& rng, View<float> rows) {
  const ModelConfig& config = model.config();
  Buffer<float> sample(std::min(kSampledRows, config.vocab_size), config.width);
  std::vector<int32_t> ids(sample.rows());
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
  for (int64_t r = 0; r < rows.rows(); ++r) {
    for (int64_t c = 0; c < rows.cols(); ++c) {
      rows(r, c) = static_cast<float>(mean + deviation * rng.Normal());
    }
  }
}

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
  FillAsEmbeddings(model, rng, vectors.view());
  return vectors;
}

Buffer<float> InitAddedTokens(int64_t count, uint64_t seed, const Transformer<float>& model) {
  const ModelConfig& config = model.config();
  Buffer<float> rows(2 * count, config.width);
  if (count == 0) return rows;
  Rng rng(seed);
  FillAsEmbeddings(model, rng, rows.view().Rows(0, count));
  const std::string name = config.tied_head ? "model.embed_tokens.weight" : "lm_head.weight";
  const StoredTensor head = StoredAs(model.checkpoint(), name);
  std::vector<float> row(config.width);
  std::vector<double> sum(config.width);
  for (int64_t id = 0; id < config.vocab_size; ++id) {
    ConvertTo<float>(head, id * config.width, config.width, row.data());
    for (int64_t c = 0; c < config.width; ++c) sum[c] += row[c];
  }
  for (int64_t r = count; r < 2 * count; ++r) {
    for (int64_t c = 0; c < config.width; ++c) {
      rows.view()(r, c) = static_cast<float>(sum[c] / static_cast<double>(config.vocab_size));
    }
  }
  return rows;
}

}  // namespace onepass
