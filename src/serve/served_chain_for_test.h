// For tests: chains of all sorts over the tiny base, bound, and what a runner gives for a record.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chain/runner_for_test.h"
#include "serve/scheduler.h"

namespace onepass {

// Two stages after a shared input, or a loop of them and a third stage.
inline ChainSpec ServedSpec(Handoff handoff, bool loop = false) {
  ChainSpec spec;
  spec.name = loop ? "loop" : "two";
  spec.file = spec.name + ".yaml";
  spec.shared = "Q: {Q}\n";
  spec.handoff = handoff;
  spec.stages.resize(loop ? 3 : 2);
  spec.stages[0] = {.name = "a", .input = "{D}:", .start = "<bos>"};
  spec.stages[1] = {.name = "b", .start = "<note>"};
  if (loop) spec.stages[2] = {.name = "c", .input = "so", .start = "<bos>"};
  for (StageSpec& stage : spec.stages) {
    stage.stop_tokens = {"<eos>"};
    stage.max_tokens = 9;
    stage.sampling = {.temperature = 0.8, .seed = 3};
  }
  if (loop) {
    spec.flow = {{.names = {"a", "b"}, .rounds = 3, .until = {}}, {.names = {"c"}, .until = {}}};
  }
  return spec;
}

// The base alone: it goes on with {Q}, without a start token.
inline ChainSpec PlainSpec() {
  ChainSpec spec;
  spec.name = "plain";
  spec.file = "plain.yaml";
  spec.shared = "{Q}";
  spec.stages.resize(1);
  spec.stages[0] = {.name = "base", .stop_tokens = {"<eos>"}, .max_tokens = 12};
  return spec;
}

// A spec bound to a base, with prompts where it has more than one stage.
struct Served {
  Served(Base& base, ChainSpec spec) {
    std::vector<SoftPrompt> prompts = Prompts();
    prompts.resize(spec.stages.size());
    if (spec.stages.size() == 1) prompts[0] = {};
    auto shared = std::make_shared<const std::vector<SoftPrompt>>(std::move(prompts));
    auto bound = BoundChain::Create(base, std::move(spec), std::move(shared));
    EXPECT_TRUE(bound.ok()) << bound.status().message();
    chain = std::move(bound).value();
    tools = std::move(Tools::Open(chain->spec())).value();
  }

  std::unique_ptr<RunOrder> Order(const Record& record, int64_t page_tokens,
                                  std::function<void(RunEvent&&)> on_event) const {
    auto order = std::make_unique<RunOrder>();
    order->chain = chain.get();
    order->tools = tools.get();
    order->record = record;
    order->outputs = chain->Outputs();
    auto prepared = chain->Prepare(record, order->outputs);
    EXPECT_TRUE(prepared.ok()) << prepared.status().message();
    order->prepared = std::move(prepared).value();
    order->need = chain->PagesOf(order->prepared, order->outputs, page_tokens);
    order->on_event = std::move(on_event);
    return order;
  }

  std::unique_ptr<const BoundChain> chain;
  std::unique_ptr<Tools> tools;
};

}  // namespace onepass
