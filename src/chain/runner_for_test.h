// For tests of the runner: a tiny base, records, prompts, and the KV of a run from scratch.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chain/runner.h"
#include "chain/tiny_chain_for_test.h"
#include "tensor/narrow_row.h"

namespace onepass {

inline std::vector<SoftPrompt> Prompts(uint64_t seed = 7) {
  std::vector<SoftPrompt> prompts;
  for (const int length : {5, 3, 4}) prompts.push_back(RandomPrompt(length, 32, seed++));
  return prompts;
}

inline Record MakeRecord(int64_t number, const std::string& question, const std::string& document) {
  Record record;
  record.number = record.line = number;
  const auto add = [&](const char* name, const std::string& text) {
    record.fields.push_back({.name = name, .text = text, .json_type = "string"});
  };
  add("Q", question);
  add("D", document);
  add("N", std::to_string(number));
  return record;
}

inline std::vector<Record> Records() {
  return {MakeRecord(1, "who?", "the other thing"), MakeRecord(2, "where is the house?", "x"),
          MakeRecord(3, "w", "a rather longer document than the others"),
          MakeRecord(4, "when did they?", "in the year")};
}

inline std::vector<float> KvOf(const Segment& segment) {
  const KvLayout& layout = segment.pool().layout();
  std::vector<float> values;
  for (int64_t layer = 0; layer < layout.layers; ++layer) {
    for (int64_t head = 0; head < layout.kv_heads; ++head) {
      for (int64_t token = 0; token < segment.token_count(); ++token) {
        const int64_t at =
            (head * layout.page_tokens + token % layout.page_tokens) * layout.RowBytes();
        const int64_t page = token / layout.page_tokens;
        std::vector<float> row(layout.head_dim);
        for (const std::byte* plane :
             {segment.k_bytes(page, layer), segment.v_bytes(page, layer)}) {
          LoadRow(layout.dtype, plane + at, layout.head_dim, row.data());
          values.insert(values.end(), row.begin(), row.end());
        }
      }
    }
  }
  return values;
}

// Everything that a run held, by planned id: kept alive beyond its death.
using Held = std::vector<SegmentRef>;

class RunnerFixture : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { dir_ = WriteTinyBase("runner_test"); }
  void SetUp() override { UseBackend("ref"); }
  void UseBackend(const std::string& backend) {
    base_ = LoadTinyBase(dir_, backend);
    ASSERT_NE(base_, nullptr);
  }

  std::unique_ptr<ChainRunner> Make(const ChainSpec& spec, const RunnerOptions& options = {},
                                    std::vector<SoftPrompt> prompts = Prompts()) {
    auto runner = ChainRunner::Create(*base_, spec, std::move(prompts), options);
    EXPECT_TRUE(runner.ok()) << runner.status().message();
    return runner.ok() ? std::move(runner).value() : nullptr;
  }

  // Runs one record; `held` gets every segment.
  RecordResult RunOne(ChainRunner& runner, const Record& record, Held* held = nullptr) {
    if (held != nullptr) {
      held->assign(runner.plan().segments.size(), nullptr);
      runner.on_step = [held](size_t, int, const std::vector<WrittenSegment>& written) {
        for (size_t id = 0; id < written.size(); ++id) {
          if (written[id].segment != nullptr) (*held)[id] = written[id].segment;
        }
      };
    }
    std::vector<RecordResult> results = runner.Run({&record, 1});
    runner.on_step = nullptr;
    EXPECT_TRUE(results[0].status.ok()) << results[0].status.message();
    return std::move(results[0]);
  }

  // What the held segment of that kind and stage says.
  std::string TextOf(const Held& held, const Plan& plan, SegmentKind kind, int stage) const {
    for (size_t id = 0; id < held.size(); ++id) {
      if (held[id] == nullptr || plan.segments[id].kind != kind) continue;
      if (plan.segments[id].stage == stage) {
        return base_->tokenizer->Decode(held[id]->tokens(), false);
      }
    }
    return "(none)";
  }

  static inline std::string dir_;
  std::unique_ptr<Base> base_;
};

// Ids in the order of their positions, for a kv hand-off.
inline std::vector<int> ByPosition(const Plan& plan, const Held& held) {
  std::vector<int> ids;
  for (int id = 0; id < std::ssize(plan.segments); ++id) {
    if (held[id] != nullptr) ids.push_back(id);
  }
  std::ranges::sort(
      ids, [&](int a, int b) { return held[a]->start_position() < held[b]->start_position(); });
  return ids;
}

// Computes every segment of a kv run from scratch: one sequence after the other in one pass each,
// with `changed` (or -1) replaced by other content for its readers only.
class Recomputation {
 public:
  Recomputation(Base& base, const Plan& plan, const Held& held, std::vector<SoftPrompt> prompts,
                DType kv_dtype = DType::kF32)
      : plan_(plan),
        held_(held),
        prompts_(std::move(prompts)),
        pool_(base.config().Layout(16, kv_dtype), 4096),
        engine_(base, pool_) {
    order_ = ByPosition(plan, held);
    fresh_.resize(plan.segments.size());
    for (const int id : order_) fresh_[id] = Write(id, -1, nullptr, false);
  }

  const SegmentRef& fresh(int id) const { return fresh_[id]; }
  const std::vector<int>& order() const { return order_; }

  // The segment's KV when `changed` has other content, and everything else stays what it was.
  SegmentRef WithChanged(int id, int changed) {
    const SegmentRef other = Write(changed, -1, nullptr, true);
    return Write(id, changed, other, false);
  }

 private:
  SegmentRef Write(int id, int changed, const SegmentRef& other, bool alter) {
    const PlannedSegment& planned = plan_.segments[id];
    PrefillRequest request;
    // The plan's own views on purpose: they are what the runner attaches.
    for (const int seen : planned.view) {
      if (held_[seen] == nullptr) continue;
      request.view.Append(seen == changed ? other : fresh_[seen]);
    }
    request.start_position = held_[id]->start_position();
    request.provenance = {.kind = planned.kind, .stage = planned.stage};
    Buffer<float> vectors;
    if (planned.kind == SegmentKind::kPrompt) {
      vectors = prompts_[planned.stage].vectors.Copy();
      if (alter) vectors.span()[3] += 1;
      request.vectors = vectors.view();
    } else {
      request.tokens = held_[id]->tokens();
      if (alter) request.tokens[request.tokens.size() / 2] ^= 1;
    }
    const Status status = engine_.Prefill({&request, 1});
    EXPECT_TRUE(status.ok()) << status.message();
    return request.segment;
  }

  const Plan& plan_;
  const Held& held_;
  std::vector<SoftPrompt> prompts_;
  PagePool pool_;
  Engine engine_;
  std::vector<int> order_;
  Held fresh_;
};

}  // namespace onepass
