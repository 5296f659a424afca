#include "serve/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "serve/served_chain_for_test.h"

namespace onepass {
namespace {

using ::testing::HasSubstr;
using Kind = RunEvent::Kind;

class SchedulerTest : public RunnerFixture {
 protected:
  void SetUp() override { UseBackend("cpu"); }

  void MakeScheduler(SchedulerOptions options = {}) {
    scheduler_ = std::make_unique<Scheduler>(*base_, options);
  }
  // Pages of 16 tokens in f32.
  int64_t BytesOf(int64_t pages) const {
    return pages * base_->config().Layout(16, DType::kF32).PageBytes();
  }

  uint64_t Add(const Served& served, const Record& record) {
    const uint64_t id = next_id_++;
    scheduler_->Add(
        id, served.Order(record, scheduler_->layout().page_tokens,
                         [this, id](RunEvent&& e) { events_[id].push_back(std::move(e)); }));
    return id;
  }
  void RunAll() {
    for (int i = 0; i < 10000; ++i) {
      if (!scheduler_->Step()) return;
    }
    FAIL() << "it never ends";
  }
  const RunEvent& EndOf(uint64_t id) {
    EXPECT_FALSE(events_[id].empty());
    EXPECT_EQ(events_[id].back().kind, Kind::kEnd);
    return events_[id].back();
  }

  // What a runner says of the record alone.
  RecordResult Alone(const Served& served, const Record& record) {
    std::vector<SoftPrompt> prompts = Prompts();
    prompts.resize(served.chain->spec().stages.size());
    if (prompts.size() == 1) prompts[0] = {};
    const auto runner = Make(served.chain->spec(), {}, std::move(prompts));
    return RunOne(*runner, record);
  }
  void ExpectAsAlone(const Served& served, const Record& record, uint64_t id) {
    const RecordResult alone = Alone(served, record);
    const RecordResult& result = EndOf(id).result;
    ASSERT_TRUE(result.status.ok()) << result.status.message();
    ASSERT_EQ(result.stages.size(), alone.stages.size());
    for (size_t i = 0; i < alone.stages.size(); ++i) {
      EXPECT_EQ(result.stages[i].tokens, alone.stages[i].tokens);
      EXPECT_EQ(result.stages[i].text, alone.stages[i].text);
      // The stream says the same.
      std::string text;
      std::vector<TokenId> tokens;
      for (const RunEvent& event : events_[id]) {
        if (event.kind != Kind::kToken || event.step != alone.stages[i].step) continue;
        text += event.text;
        tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
      }
      EXPECT_EQ(text, alone.stages[i].text);
      EXPECT_EQ(tokens, alone.stages[i].tokens);
    }
  }

  std::unique_ptr<Scheduler> scheduler_;
  std::map<uint64_t, std::vector<RunEvent>> events_;
  uint64_t next_id_ = 1;
};

TEST_F(SchedulerTest, ManyRunsOfManyChainsSayWhatEachSaysAlone) {
  const Served chains[] = {{*base_, ServedSpec(Handoff::kKv)},
                           {*base_, ServedSpec(Handoff::kText)},
                           {*base_, ServedSpec(Handoff::kKv, true)},
                           {*base_, ServedSpec(Handoff::kTextCached, true)},
                           {*base_, PlainSpec()}};
  for (const int64_t prefill_rows : {3, 1000}) {
    MakeScheduler({.max_kv_bytes = BytesOf(400), .max_running = 7, .prefill_rows = prefill_rows});
    events_.clear();
    const std::vector<Record> records = Records();
    std::vector<std::pair<const Served*, uint64_t>> ids;
    for (const Record& record : records) {
      for (const Served& served : chains) {
        ids.emplace_back(&served, Add(served, record));
        scheduler_->Step();  // they come at any time
      }
    }
    RunAll();
    for (size_t i = 0; i < ids.size(); ++i) {
      ExpectAsAlone(*ids[i].first, records[i / std::size(chains)], ids[i].second);
    }
    scheduler_->DropIdleSegments();
    EXPECT_EQ(scheduler_->stats().pages_used, 0);
  }
}

TEST_F(SchedulerTest, EqualInputsAreComputedOnceAndGiveTheSame) {
  const Served served(*base_, ServedSpec(Handoff::kKv));
  MakeScheduler({.max_kv_bytes = BytesOf(200)});
  const Record record = Records()[1];
  const uint64_t first = Add(served, record);
  RunAll();
  const int64_t of_one = scheduler_->stats().tokens_computed;
  const uint64_t second = Add(served, record);
  const uint64_t third = Add(served, record);
  RunAll();
  const int64_t prompts = 5 + 3;
  const int64_t shared = EndOf(first).result.stages[0].tokens_prefilled -
                         EndOf(second).result.stages[0].tokens_prefilled;
  EXPECT_GT(shared, 0);
  EXPECT_EQ(scheduler_->stats().tokens_computed, 3 * of_one - 2 * (prompts + shared));
  for (const uint64_t id : {first, second, third}) ExpectAsAlone(served, record, id);
  EXPECT_EQ(EndOf(second).result.stages[0].tokens_reused,
            EndOf(first).result.stages[0].tokens_reused + shared);
}

TEST_F(SchedulerTest, WhatTwoNeedAtOnceOneWritesAndTheOtherWaitsEvenWhenTheWriterGoes) {
  const Served served(*base_, PlainSpec());
  MakeScheduler({.max_kv_bytes = BytesOf(200), .prefill_rows = 2});
  const Record record = MakeRecord(1, std::string(20, 'w'), "");
  const uint64_t writer = Add(served, record);
  const uint64_t waiter = Add(served, record);
  scheduler_->Step();
  scheduler_->Step();
  EXPECT_LE(scheduler_->stats().tokens_computed, 4) << "both write it";
  scheduler_->Cancel(writer);
  const size_t told = events_[writer].size();
  RunAll();
  EXPECT_EQ(events_[writer].size(), told) << "no event after a cancellation";
  ExpectAsAlone(served, record, waiter);
  EXPECT_EQ(scheduler_->stats().index_hit_tokens, 0);
  scheduler_->DropIdleSegments();
  EXPECT_EQ(scheduler_->stats().pages_used, 0);
}

TEST_F(SchedulerTest, CancelledAtAnyTimeARunLeavesNoPage) {
  const Served served(*base_, ServedSpec(Handoff::kKv, true));
  for (int steps = 0; steps < 70; ++steps) {
    MakeScheduler({.max_kv_bytes = BytesOf(200), .prefill_rows = 4});
    const uint64_t id = Add(served, Records()[1]);
    for (int i = 0; i < steps; ++i) scheduler_->Step();
    scheduler_->Cancel(id);
    scheduler_->DropIdleSegments();
    ASSERT_EQ(scheduler_->stats().pages_used, 0) << steps;
    ASSERT_FALSE(scheduler_->Step());
  }
}

TEST_F(SchedulerTest, WhatIsAdmittedFinishesHoweverFewPagesThereAre) {
  const std::vector<Record> records = Records();
  for (const Handoff handoff : {Handoff::kKv, Handoff::kText, Handoff::kTextCached}) {
    const Served served(*base_, ServedSpec(handoff, true));
    int64_t most = 0, steps_of_fewest = 0;
    for (const Record& record : records) {
      most = std::max(most, served.Order(record, 16, {})->need.most);
    }
    for (const int64_t pages : {most, most + 1, 2 * most - 1, 3 * most}) {
      MakeScheduler({.max_kv_bytes = BytesOf(pages), .prefill_rows = 8});
      EXPECT_TRUE(scheduler_->CanHold({.most = most}));
      EXPECT_FALSE(scheduler_->CanHold({.most = pages + 1}));
      events_.clear();
      std::vector<uint64_t> ids;
      for (int round = 0; round < 3; ++round) {
        for (const Record& record : records) ids.push_back(Add(served, record));
      }
      RunAll();
      for (size_t i = 0; i < ids.size(); ++i) {
        ExpectAsAlone(served, records[i % records.size()], ids[i]);
      }
      EXPECT_LE(scheduler_->stats().pages_peak, pages);
      if (pages == most) steps_of_fewest = scheduler_->stats().steps;
    }
    // Nearly every text of this base is broken: those who read it again wait for the reserve.
    const bool kv = handoff == Handoff::kKv;
    EXPECT_LT(scheduler_->stats().steps, kv ? steps_of_fewest * 2 / 3 : steps_of_fewest)
        << "one at a time";
  }
}

TEST_F(SchedulerTest, ALongInputHoldsNoOutputUp) {
  const Served served(*base_, PlainSpec());
  MakeScheduler({.max_kv_bytes = BytesOf(200), .prefill_rows = 4});
  const uint64_t early = Add(served, MakeRecord(1, "who?", ""));
  while (events_[early].empty() || events_[early].back().kind != Kind::kToken) scheduler_->Step();
  const uint64_t late = Add(served, MakeRecord(2, std::string(160, 'w'), ""));
  size_t seen = events_[early].size();
  for (int step = 0; step < 8; ++step, ++seen) {
    scheduler_->Step();
    EXPECT_EQ(events_[early].size(), seen + 1) << "a token each step";
  }
  EXPECT_EQ(events_[late].back().kind, Kind::kStageBegin);
  RunAll();
  ExpectAsAlone(served, MakeRecord(1, "who?", ""), early);
  ExpectAsAlone(served, MakeRecord(2, std::string(160, 'w'), ""), late);
}

TEST_F(SchedulerTest, NothingOfAStopStringIsEverSent) {
  const Served served(*base_, PlainSpec());
  const Record record = Records()[0];
  const std::string whole = Alone(served, record).stages[0].text;
  ASSERT_GE(whole.size(), 6u);
  for (size_t begin = 0; begin + 3 <= whole.size(); ++begin) {
    MakeScheduler();
    auto order =
        served.Order(record, 16, [this](RunEvent&& e) { events_[0].push_back(std::move(e)); });
    events_.clear();
    order->outputs[0].stop_strings = {whole.substr(begin, 3), "never" + whole};
    scheduler_->Add(1, std::move(order));
    RunAll();
    std::string sent;
    for (const RunEvent& event : events_[0]) sent += event.text;
    EXPECT_EQ(sent, whole.substr(0, whole.find(whole.substr(begin, 3))));
    EXPECT_EQ(EndOf(0).result.stages[0].text, sent);
  }
}

TEST_F(SchedulerTest, ADeadlineEndsWhatWaitsAndWhatRuns) {
  const Served served(*base_, ServedSpec(Handoff::kKv));
  MakeScheduler({.max_kv_bytes = BytesOf(200), .max_running = 1, .prefill_rows = 2});
  for (const uint64_t id : {1, 2}) {
    auto order = served.Order(Records()[0], 16,
                              [this, id](RunEvent&& e) { events_[id].push_back(std::move(e)); });
    if (id == 2) order->deadline = std::chrono::steady_clock::now();
    scheduler_->Add(id, std::move(order));
  }
  scheduler_->Step();
  EXPECT_THAT(EndOf(2).result.status.message(), HasSubstr("deadline"));
  RunAll();
  ExpectAsAlone(served, Records()[0], 1);

  auto order =
      served.Order(Records()[0], 16, [this](RunEvent&& e) { events_[3].push_back(std::move(e)); });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(250);
  order->deadline = deadline;
  order->outputs[1].max_tokens = 100;
  scheduler_->Add(3, std::move(order));
  scheduler_->Step();
  EXPECT_EQ(scheduler_->stats().running, 1);
  while (std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  scheduler_->Step();
  EXPECT_THAT(EndOf(3).result.status.message(), HasSubstr("deadline"));
  EXPECT_EQ(scheduler_->stats().running, 0);
  scheduler_->DropIdleSegments();
  EXPECT_EQ(scheduler_->stats().pages_used, 0);
}

TEST_F(SchedulerTest, WhatWaitingRunsNeedIsEvictedLast) {
  const Served served(*base_, PlainSpec());
  // Room for one run and two idle inputs, in pages large enough for the logits of all.
  const Record a = MakeRecord(1, std::string(16, 'a'), ""),
               b = MakeRecord(2, std::string(16, 'b'), ""),
               c = MakeRecord(3, std::string(16, 'c'), "");
  const int64_t need = served.Order(a, 32, {})->need.most;
  MakeScheduler({.max_kv_bytes = 2 * BytesOf(need + 1), .page_tokens = 32, .max_running = 1});
  Add(served, a);
  RunAll();
  Add(served, b);
  RunAll();
  EXPECT_EQ(scheduler_->stats().pages_held_by_index, 2);
  // c's pages cost one of both: not a's, though it is older, for a comes next.
  const int64_t hits = scheduler_->stats().index_hit_tokens;
  Add(served, c);
  Add(served, a);
  RunAll();
  EXPECT_GE(scheduler_->stats().evictions, 1);
  EXPECT_EQ(scheduler_->stats().index_hit_tokens, hits + 16);
}

TEST_F(SchedulerTest, KeptInputsMayLoseTheirLogitsAndAreComputedAgain) {
  const Served served(*base_, PlainSpec());
  // Of a page each, in small pages: a quarter of their bytes holds the logits of less than half.
  constexpr int64_t kInputs = 40;
  MakeScheduler({.max_kv_bytes = BytesOf(30), .page_tokens = 4});
  const auto record = [](int64_t i) { return MakeRecord(i + 1, std::to_string(10 + i), ""); };
  for (int64_t i = 0; i < kInputs; ++i) Add(served, record(i));
  RunAll();
  for (const int64_t i : {kInputs - 1, int64_t{0}}) {
    const int64_t hits = scheduler_->stats().index_hit_tokens;
    const uint64_t id = Add(served, record(i));
    RunAll();
    ExpectAsAlone(served, record(i), id);
    EXPECT_EQ(scheduler_->stats().index_hit_tokens, hits + (i > 0 ? 2 : 0));
  }
  EXPECT_EQ(scheduler_->stats().evictions, 0);
}

}  // namespace
}  // namespace onepass
