// The claim that everything rests on: a run by segments and views is the paper's one long sequence
// under its cascade attention mask. Here that sequence is computed a second time, densely, in
// double and with a mask matrix, by a transformer that shares no code with the engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "chain/runner.h"
#include "chain/tiny_chain_for_test.h"

namespace onepass {
namespace {

using Rows = std::vector<std::vector<double>>;

struct Position {
  SegmentKind kind;
  int stage;
  int segment;
};

// Section 2 of docs/method.md, for one long sequence.
bool Masked(Placement placement, const Position& reader, const Position& target) {
  if (reader.segment == target.segment) return false;  // causal order is the caller's
  const bool own = reader.stage == target.stage;
  if (reader.kind == SegmentKind::kSharedInput) return true;
  if (reader.kind == SegmentKind::kPrompt && placement == Placement::kFront) return true;
  if (target.kind == SegmentKind::kSharedInput) return false;
  if (target.kind == SegmentKind::kOutput) return target.stage >= reader.stage;
  return !own;
}

class DenseLlama {
 public:
  explicit DenseLlama(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint), config_(checkpoint.config()) {}

  struct Result {
    std::vector<Rows> keys;  // by layer: [T][G * D], rotated
    std::vector<Rows> values;
    Rows logits;
  };

  std::vector<double> Embedding(int32_t token) const {
    const std::vector<double>& table = Weight("model.embed_tokens.weight");
    return {table.begin() + token * config_.width, table.begin() + (token + 1) * config_.width};
  }

  // may_see[i][j]: position i attends to position j.
  Result Forward(Rows x, const std::vector<std::vector<bool>>& may_see) const {
    const int64_t t_count = std::ssize(x);
    const int64_t d = config_.head_dim;
    const int64_t group = config_.heads / config_.kv_heads;
    Result result;
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      const std::string at = "model.layers." + std::to_string(layer) + ".";
      const Rows normed = Norm(x, at + "input_layernorm.weight");
      Rows q = Times(normed, at + "self_attn.q_proj.weight");
      Rows k = Times(normed, at + "self_attn.k_proj.weight");
      const Rows v = Times(normed, at + "self_attn.v_proj.weight");
      for (int64_t t = 0; t < t_count; ++t) {
        Rotate(&q[t], t);
        Rotate(&k[t], t);
      }
      Rows mixed(t_count, std::vector<double>(config_.heads * d));
      for (int64_t t = 0; t < t_count; ++t) {
        for (int64_t head = 0; head < config_.heads; ++head) {
          std::vector<double> scores(t_count, -INFINITY);
          for (int64_t s = 0; s <= t; ++s) {
            if (!may_see[t][s]) continue;
            double dot = 0;
            for (int64_t i = 0; i < d; ++i) dot += q[t][head * d + i] * k[s][head / group * d + i];
            scores[s] = dot / std::sqrt(static_cast<double>(d));
          }
          const double top = *std::ranges::max_element(scores);
          double sum = 0;
          for (double& score : scores) sum += score = std::exp(score - top);
          for (int64_t s = 0; s < t_count; ++s) {
            for (int64_t i = 0; i < d; ++i) {
              mixed[t][head * d + i] += scores[s] / sum * v[s][head / group * d + i];
            }
          }
        }
      }
      Add(&x, Times(mixed, at + "self_attn.o_proj.weight"));
      const Rows inner = Norm(x, at + "post_attention_layernorm.weight");
      Rows gate = Times(inner, at + "mlp.gate_proj.weight");
      const Rows up = Times(inner, at + "mlp.up_proj.weight");
      for (int64_t t = 0; t < t_count; ++t) {
        for (int64_t i = 0; i < config_.feed_forward; ++i) {
          gate[t][i] = gate[t][i] / (1 + std::exp(-gate[t][i])) * up[t][i];
        }
      }
      Add(&x, Times(gate, at + "mlp.down_proj.weight"));
      result.keys.push_back(std::move(k));
      result.values.push_back(v);
    }
    result.logits = Times(Norm(x, "model.norm.weight"),
                          config_.tied_head ? "model.embed_tokens.weight" : "lm_head.weight");
    return result;
  }

 private:
  const std::vector<double>& Weight(const std::string& name) const {
    std::vector<double>& values = weights_[name];
    if (values.empty()) {
      const RawTensor& tensor = checkpoint_.tensor(name);
      values.resize(tensor.element_count());
      ConvertTo(tensor, 0, tensor.element_count(), values.data());
    }
    return values;
  }

  // x [T][in] times the transpose of a weight [out, in].
  Rows Times(const Rows& x, const std::string& name) const {
    const std::vector<double>& weight = Weight(name);
    const int64_t in = std::ssize(x.front());
    const int64_t out = std::ssize(weight) / in;
    Rows y(x.size(), std::vector<double>(out));
    for (size_t t = 0; t < x.size(); ++t) {
      for (int64_t o = 0; o < out; ++o) {
        for (int64_t i = 0; i < in; ++i) y[t][o] += x[t][i] * weight[o * in + i];
      }
    }
    return y;
  }

  Rows Norm(const Rows& x, const std::string& name) const {
    const std::vector<double>& weight = Weight(name);
    Rows y = x;
    for (std::vector<double>& row : y) {
      double sum = 0;
      for (const double value : row) sum += value * value;
      const double scale = 1 / std::sqrt(sum / static_cast<double>(row.size()) + config_.norm_eps);
      for (size_t i = 0; i < row.size(); ++i) row[i] *= scale * weight[i];
    }
    return y;
  }

  // Rotary embedding of every head at position t; halves are paired.
  void Rotate(std::vector<double>* row, int64_t t) const {
    const int64_t d = config_.head_dim;
    for (int64_t head = 0; head < std::ssize(*row) / d; ++head) {
      for (int64_t i = 0; i < d / 2; ++i) {
        const double angle =
            static_cast<double>(t) *
            std::pow(config_.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
        double& a = (*row)[head * d + i];
        double& b = (*row)[head * d + i + d / 2];
        const double rotated = a * std::cos(angle) - b * std::sin(angle);
        b = b * std::cos(angle) + a * std::sin(angle);
        a = rotated;
      }
    }
  }

  static void Add(Rows* x, const Rows& y) {
    for (size_t t = 0; t < x->size(); ++t) {
      for (size_t i = 0; i < (*x)[t].size(); ++i) (*x)[t][i] += y[t][i];
    }
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  mutable std::map<std::string, std::vector<double>> weights_;
};

// Runs `spec` over one record under a kv hand-off and compares all of it with the dense sequence:
// every key and value that was cached, and every token that was chosen greedily.
void ExpectEqualsDenseSequence(Base& base, const ChainSpec& spec, const Record& record,
                               std::vector<int64_t> prompt_lengths, double tolerance) {
  std::vector<SoftPrompt> prompts;
  std::vector<SoftPrompt> copies;
  for (size_t i = 0; i < prompt_lengths.size(); ++i) {
    prompts.push_back(RandomPrompt(prompt_lengths[i], base.config().width, 40 + i));
    copies.push_back(RandomPrompt(prompt_lengths[i], base.config().width, 40 + i));
  }
  auto created = ChainRunner::Create(base, spec, std::move(prompts), {});
  ASSERT_TRUE(created.ok()) << created.status().message();
  ChainRunner& runner = **created;
  const Plan& plan = runner.plan();
  std::vector<SegmentRef> held(plan.segments.size());
  runner.on_step = [&](size_t, int, const std::vector<WrittenSegment>& written) {
    for (size_t id = 0; id < written.size(); ++id) {
      if (written[id].segment != nullptr) held[id] = written[id].segment;
    }
  };
  const std::vector<RecordResult> results = runner.Run({&record, 1});
  ASSERT_TRUE(results[0].status.ok()) << results[0].status.message();

  std::vector<int> order;
  for (int id = 0; id < std::ssize(held); ++id) {
    if (held[id] != nullptr) order.push_back(id);
  }
  std::ranges::sort(order, {}, [&](int id) { return held[id]->start_position(); });
  const DenseLlama dense(base.checkpoint.operator*());
  Rows x;
  std::vector<Position> positions;
  std::vector<int32_t> tokens;
  for (const int id : order) {
    const PlannedSegment& segment = plan.segments[id];
    ASSERT_EQ(held[id]->start_position(), std::ssize(x)) << "one running index";
    for (int64_t i = 0; i < held[id]->token_count(); ++i) {
      positions.push_back({segment.kind, segment.stage, id});
      tokens.push_back(held[id]->tokens()[i]);
      if (segment.kind == SegmentKind::kPrompt) {
        const float* row = copies[segment.stage].vectors.view().row(i);
        x.emplace_back(row, row + base.config().width);
      } else {
        x.push_back(dense.Embedding(tokens.back()));
      }
    }
  }
  std::vector<std::vector<bool>> may_see(x.size(), std::vector<bool>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      may_see[i][j] = !Masked(spec.placement, positions[i], positions[j]);
    }
  }
  const DenseLlama::Result expected = dense.Forward(x, may_see);

  const KvLayout& layout = runner.pool().layout();
  double worst = 0;
  for (const int id : order) {
    const Segment& segment = *held[id];
    for (int64_t layer = 0; layer < layout.layers; ++layer) {
      for (int64_t t = 0; t < segment.token_count(); ++t) {
        const int64_t row = segment.start_position() + t;
        const int64_t page = t / layout.page_tokens;
        for (int64_t i = 0; i < layout.kv_heads * layout.head_dim; ++i) {
          const int64_t at = i / layout.head_dim * layout.HeadStride() +
                             t % layout.page_tokens * layout.head_dim + i % layout.head_dim;
          const double k = segment.k_plane<float>(page, layer)[at];
          const double v = segment.v_plane<float>(page, layer)[at];
          worst = std::max(worst, std::abs(k - expected.keys[layer][row][i]));
          worst = std::max(worst, std::abs(v - expected.values[layer][row][i]));
        }
      }
    }
  }
  EXPECT_LT(worst, tolerance) << NameOf(spec.placement);

  for (int stage = 0; stage < std::ssize(spec.stages); ++stage) {
    const Segment& output = *held[plan.OutputOf(stage)];
    const std::vector<TokenId>& chosen = results[0].stages[stage].tokens;
    const int64_t start_count = std::ssize(runner.templates().StartTokens(stage));
    ASSERT_FALSE(chosen.empty());
    for (int64_t i = 0; i < std::ssize(chosen); ++i) {
      const int64_t row = output.start_position() + start_count - 1 + i;
      ASSERT_LT(row, std::ssize(x));
      const std::vector<double>& logits = expected.logits[row];
      const double best = *std::ranges::max_element(logits);
      EXPECT_NEAR(logits[chosen[i]], best, tolerance) << "stage " << stage << ", token " << i;
    }
  }
}

Record MakeRecord() {
  Record record;
  record.number = record.line = 1;
  for (const auto& [name, text] : std::map<std::string, std::string>{
           {"Q", "Who lived in the house?"}, {"D", "Once there was a little dog."}, {"E", "So"}}) {
    record.fields.push_back({.name = name, .text = text, .json_type = "string"});
  }
  return record;
}

ChainSpec MakeSpec(Placement placement, const std::string& start) {
  ChainSpec spec;
  spec.name = spec.file = "mask";
  spec.placement = placement;
  spec.shared = "{Q}\n";
  spec.stages.resize(3);
  spec.stages[0] = {.name = "a", .input = "{D}\n", .start = start};
  spec.stages[1] = {.name = "b", .input = "{E}", .start = start};
  spec.stages[2] = {.name = "c", .start = start};
  for (StageSpec& stage : spec.stages) stage.max_tokens = 12;
  return spec;
}

TEST(ChainMask, SegmentsAndViewsAreTheCascadeMaskOnATinyBase) {
  const std::string dir = WriteTinyBase("chain_mask_test");
  for (const char* backend : {"ref", "cpu"}) {
    const std::unique_ptr<Base> base = LoadTinyBase(dir, backend);
    ASSERT_NE(base, nullptr);
    for (const Placement placement : {Placement::kFront, Placement::kInline}) {
      ExpectEqualsDenseSequence(*base, MakeSpec(placement, "<bos>"), MakeRecord(), {5, 3, 4}, 2e-5);
    }
  }
}

TEST(ChainMask, SegmentsAndViewsAreTheCascadeMaskOnATrainedBase) {
  const std::string dir = std::string(ONEPASS_SOURCE_DIR) + "/../shared/models/tinystories-656k";
  if (!std::filesystem::exists(dir + "/config.json")) GTEST_SKIP() << "no " << dir;
  const std::unique_ptr<Base> base = LoadTinyBase(dir, "cpu");
  ASSERT_NE(base, nullptr);
  for (const Placement placement : {Placement::kFront, Placement::kInline}) {
    ExpectEqualsDenseSequence(*base, MakeSpec(placement, "Then"), MakeRecord(), {6, 4, 3}, 2e-3);
  }
}

}  // namespace
}  // namespace onepass
