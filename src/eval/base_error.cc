#include "eval/base_error.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kv/page_pool.h"
#include "kv/segment.h"

namespace onepass {
namespace {

constexpr int64_t kPageTokens = 32;
constexpr int64_t kLogitRows = 32;  // at a time: a vocabulary may be large

// One base's residual stream of a window of tokens, [T, C], copied.
Result<Buffer<float>> HiddenOf(Base& base, PagePool& pool, std::span<const int32_t> ids) {
  Segment tail(pool, 0, {});
  RETURN_IF_ERROR(tail.Extend(ids));
  const KvView nothing;
  const ForwardItem<float> item{
      .view = &nothing, .tail = &tail, .new_count = std::ssize(ids), .vectors = {}};
  const View<const float> hidden = base.model->Forward({&item, 1}, nullptr);
  Buffer<float> copy(hidden.rows(), hidden.cols());
  for (int64_t t = 0; t < hidden.rows(); ++t) {
    std::copy_n(hidden.row(t), hidden.cols(), copy.view().row(t));
  }
  return copy;
}

// Turns a row of logits into log-probabilities; returns the index of the largest.
int64_t LogSoftmax(const float* logits, std::vector<double>& out) {
  const auto best = std::max_element(logits, logits + out.size());
  double sum = 0;
  for (size_t v = 0; v < out.size(); ++v) sum += std::exp(static_cast<double>(logits[v]) - *best);
  const double log_sum = *best + std::log(sum);
  for (size_t v = 0; v < out.size(); ++v) out[v] = logits[v] - log_sum;
  return best - logits;
}

struct Sums {
  int64_t tokens = 0;
  int64_t top1_agreed = 0;
  double loss = 0;
  double other_loss = 0;
  double kl = 0;
};

// Adds a window: row t predicts ids[t + 1].
Status AddWindow(Base& reference, Base& other, PagePool& pool, PagePool& other_pool,
                 std::span<const int32_t> ids, Sums& sums) {
  const int64_t rows = std::ssize(ids) - 1;
  const int64_t vocab = reference.config().vocab_size;
  ASSIGN_OR_RETURN(const Buffer<float> hidden, HiddenOf(reference, pool, ids));
  ASSIGN_OR_RETURN(const Buffer<float> other_hidden, HiddenOf(other, other_pool, ids));
  Buffer<float> logits(std::min(rows, kLogitRows), vocab);
  Buffer<float> other_logits(logits.rows(), vocab);
  std::vector<double> p(static_cast<size_t>(vocab));
  std::vector<double> q(static_cast<size_t>(vocab));
  for (int64_t begin = 0; begin < rows; begin += kLogitRows) {
    const int64_t count = std::min(kLogitRows, rows - begin);
    reference.model->Logits(hidden.view().Rows(begin, count), logits.view().Rows(0, count));
    other.model->Logits(other_hidden.view().Rows(begin, count), other_logits.view().Rows(0, count));
    for (int64_t i = 0; i < count; ++i) {
      const int32_t target = ids[static_cast<size_t>(begin + i + 1)];
      const int64_t best = LogSoftmax(logits.view().row(i), p);
      const int64_t other_best = LogSoftmax(other_logits.view().row(i), q);
      double kl = 0;
      for (size_t v = 0; v < p.size(); ++v) kl += std::exp(p[v]) * (p[v] - q[v]);
      sums.kl += kl;
      sums.loss -= p[static_cast<size_t>(target)];
      sums.other_loss -= q[static_cast<size_t>(target)];
      sums.top1_agreed += best == other_best;
      ++sums.tokens;
    }
  }
  if (std::isfinite(sums.kl + sums.loss + sums.other_loss)) return Status::Ok();
  return InvalidArgument("compare: want logits that are numbers, found others (" +
                         other.checkpoint->path() + ")");
}

}  // namespace

Status BaseErrorOptions::Validate() const {
  if (window_tokens < 2 || max_tokens < 2) {
    return InvalidArgument("compare: want windows and texts of at least 2 tokens");
  }
  return CheckKvType(other_kv_dtype).WithPrefix("compare");
}

Result<BaseError> CompareBases(
    Base& reference, Base& other, std::string_view text, const BaseErrorOptions& options,
    const std::function<void(int64_t done, int64_t total)>& on_progress) {
  RETURN_IF_ERROR(options.Validate());
  if (reference.config().vocab_size != other.config().vocab_size) {
    return InvalidArgument("compare: want a vocabulary of " +
                           std::to_string(reference.config().vocab_size) + ", found " +
                           std::to_string(other.config().vocab_size) + " (" +
                           other.checkpoint->path() + ")");
  }
  std::vector<TokenId> ids = reference.tokenizer->Encode(text, {.add_special_tokens = true});
  if (std::ssize(ids) > options.max_tokens) ids.resize(static_cast<size_t>(options.max_tokens));
  if (ids.size() < 2) {
    return InvalidArgument("compare: want a text of at least 2 tokens, found " +
                           std::to_string(ids.size()));
  }
  const int64_t window = std::min({options.window_tokens, std::ssize(ids),
                                   reference.config().max_positions, other.config().max_positions});
  PagePool pool(reference.config().Layout(kPageTokens, DType::kF32), window / kPageTokens + 1);
  PagePool other_pool(other.config().Layout(kPageTokens, options.other_kv_dtype),
                      window / kPageTokens + 1);
  Sums sums;
  for (int64_t begin = 0; begin + 1 < std::ssize(ids); begin += window) {
    const int64_t count = std::min(window, std::ssize(ids) - begin);
    RETURN_IF_ERROR(AddWindow(
        reference, other, pool, other_pool,
        std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)), sums));
    if (on_progress) on_progress(begin + count, std::ssize(ids));
  }
  const double n = static_cast<double>(sums.tokens);
  return BaseError{.token_count = sums.tokens,
                   .perplexity = std::exp(sums.loss / n),
                   .other_perplexity = std::exp(sums.other_loss / n),
                   .mean_kl = sums.kl / n,
                   .top1_agreement = static_cast<double>(sums.top1_agreed) / n};
}

}  // namespace onepass
