#include "chain/trace.h"

#include <algorithm>

#include "core/quote.h"

namespace onepass {
namespace {

constexpr std::string_view kRound = "{round}";

class TraceReader {
 public:
  TraceReader(const Plan& plan, const std::vector<std::string>& fields, const Record& record)
      : plan_(plan), fields_(fields), record_(record) {}

  Result<std::vector<std::optional<std::string>>> Read(Tools* tools) const {
    Transcript transcript{.record = &record_, .texts = {}};
    std::vector<std::optional<std::string>>& texts = transcript.texts;
    texts.resize(plan_.steps.size());
    for (int step = 0; step < plan_.step_count();) {
      const PlanStep& planned = plan_.steps[step];
      // The stage that the record may have an output of.
      int next = step;
      while (next + 1 < planned.behind_part && plan_.steps[next].stage < 0) ++next;
      const bool may_end = step > 0 && plan_.steps[step - 1].part == planned.part;
      if (may_end && plan_.steps[next].stage >= 0 && !HasOutput(next)) {
        for (int later = next; later < planned.behind_part; ++later) {
          if (plan_.steps[later].stage < 0) continue;
          RETURN_IF_ERROR(CheckAbsent(
              plan_.steps[later].stage, plan_.steps[later].run,
              "it has no " + Quote(FieldOf(plan_.steps[next].stage, plan_.steps[next].run))));
        }
        step = planned.behind_part;
        continue;
      }
      if (planned.tool >= 0) {
        ASSIGN_OR_RETURN(const ToolResult found, tools->Run(plan_, step, transcript));
        texts[step] = found.text;
      } else {
        ASSIGN_OR_RETURN(const std::string_view text,
                         record_.Text(FieldOf(planned.stage, planned.run)));
        texts[step] = std::string(text);
      }
      ++step;
    }
    RETURN_IF_ERROR(CheckNoFurtherRounds());
    return std::move(texts);
  }

 private:
  // The record field of a stage's run, from 0.
  std::string FieldOf(int stage, int run) const { return TraceField(fields_[stage], run); }

  bool HasOutput(int step) const {
    return record_.Find(FieldOf(plan_.steps[step].stage, plan_.steps[step].run)) != nullptr;
  }

  Status CheckAbsent(int stage, int run, const std::string& why) const {
    const std::string field = FieldOf(stage, run);
    if (record_.Find(field) == nullptr) return Status::Ok();
    return InvalidArgument(record_.Where() + ": want no field " + Quote(field) + ", since " + why);
  }

  // None beyond those of the flow.
  Status CheckNoFurtherRounds() const {
    const int64_t stage_count = std::min(std::ssize(fields_), std::ssize(plan_.runs));
    for (int stage = 0; stage < stage_count; ++stage) {
      const int runs = plan_.runs[stage];
      if (runs == 0 || fields_[stage].find(kRound) == std::string::npos) continue;
      RETURN_IF_ERROR(CheckAbsent(stage, runs, "the chain's flow has " + std::to_string(runs)));
    }
    return Status::Ok();
  }

  const Plan& plan_;
  const std::vector<std::string>& fields_;
  const Record& record_;
};

}  // namespace

std::string TraceField(std::string field, int run) {
  const std::string number = std::to_string(run + 1);
  for (size_t at = field.find(kRound); at != std::string::npos; at = field.find(kRound, at)) {
    field.replace(at, kRound.size(), number);
  }
  return field;
}

Status CheckTraceFields(const Plan& plan, const std::vector<std::string>& fields) {
  int stage_count = 0;  // up to the last one that the plan runs
  for (const PlanStep& step : plan.steps) stage_count = std::max(stage_count, step.stage + 1);
  if (std::ssize(fields) < stage_count) {
    return InvalidArgument("outputs: want a record field for each of " +
                           std::to_string(stage_count) + " stages, found " +
                           std::to_string(fields.size()));
  }
  for (const PlanStep& step : plan.steps) {
    if (step.stage < 0 || step.run == 0) continue;
    if (fields[step.stage].find(kRound) != std::string::npos) continue;
    return InvalidArgument("outputs: want \"{round}\" in the field of stage " +
                           Quote(plan.stages[step.stage]) + ", which runs more than once, found " +
                           Quote(fields[step.stage]));
  }
  return Status::Ok();
}

Result<std::vector<std::optional<std::string>>> TraceOf(const Plan& plan,
                                                        const std::vector<std::string>& fields,
                                                        Tools* tools, const Record& record) {
  return TraceReader(plan, fields, record).Read(tools);
}

}  // namespace onepass
