#include "chain/runner.h"

#include <algorithm>
#include <deque>

#include "core/quote.h"

namespace onepass {
namespace {

// Some 17 million tokens in pages of 16. Page ids are 32 bits, and the pool's table is made at
// once.
constexpr int64_t kMaxPages = int64_t{1} << 20;

}  // namespace

// A record of a batch. A fault is its own.
struct ChainRunner::Job {
  Job(size_t index_in_run, const BoundChain& chain, const Record& record)
      : index(index_in_run), run(chain, record) {}

  size_t index;  // in the Run's records
  ChainRun run;
  Status status;

  bool IsAt(int step) const { return status.ok() && !run.done() && run.step() == step; }
};

Status RunnerOptions::Validate() const {
  if (batch < 1 || batch > 4096) {
    return InvalidArgument("batch: want 1 to 4096, found " + std::to_string(batch));
  }
  if (max_kv_bytes < 0) {
    return InvalidArgument("max_kv_bytes: want 0 or more, found " + std::to_string(max_kv_bytes));
  }
  if (page_tokens < 1 || page_tokens > 4096) {
    return InvalidArgument("page_tokens: want 1 to 4096, found " + std::to_string(page_tokens));
  }
  return CheckKvType(kv_dtype);
}

Result<std::unique_ptr<ChainRunner>> ChainRunner::Create(Base& base, const ChainSpec& spec,
                                                         const RunnerOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(ChainPrompts prompts, LoadChainPrompts(base, spec));
  std::unique_ptr<ChainRunner> runner(new ChainRunner(base, options));
  RETURN_IF_ERROR(runner->Init(spec, std::move(prompts)));
  return runner;
}

Result<std::unique_ptr<ChainRunner>> ChainRunner::Create(Base& base, const ChainSpec& spec,
                                                         std::vector<SoftPrompt> prompts,
                                                         const RunnerOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<ChainRunner> runner(new ChainRunner(base, options));
  RETURN_IF_ERROR(
      runner->Init(spec, std::make_shared<const std::vector<SoftPrompt>>(std::move(prompts))));
  return runner;
}

Status ChainRunner::Init(const ChainSpec& spec, ChainPrompts prompts) {
  ChainSpec bound = spec;
  if (options_.handoff) bound.SetHandoff(*options_.handoff);
  ASSIGN_OR_RETURN(chain_, BoundChain::Create(base_, std::move(bound), std::move(prompts)));
  ASSIGN_OR_RETURN(tools_, Tools::Open(chain_->spec()));
  MakePool();
  engine_ = std::make_unique<Engine>(base_, *pool_);
  front_prompts_.resize(plan().segments.size());
  for (int id = 0; id < std::ssize(plan().segments); ++id) {
    if (!plan().OutlivesRecords(id) || options_.cold) continue;
    ASSIGN_OR_RETURN(front_prompts_[id], WriteFrontPrompt(id));
  }
  return Status::Ok();
}

void ChainRunner::MakePool() {
  const KvLayout layout = base_.config().Layout(options_.page_tokens, options_.kv_dtype);
  int64_t page_count = options_.batch * chain_->PagesOfPositions(options_.page_tokens);
  // Both a base's context and a batch may be large: what a batch then cannot have is a record's
  // own fault, "kv pages".
  page_count = std::min(page_count, kMaxPages);
  if (options_.max_kv_bytes > 0) {
    page_count = std::min(page_count, options_.max_kv_bytes / layout.PageBytes());
  }
  pool_ = std::make_unique<PagePool>(layout, page_count);
}

Result<WrittenSegment> ChainRunner::WriteFrontPrompt(int id) {
  PrefillRequest request = chain_->FrontPrompt(id);
  const std::string& stage = spec().stages[plan().segments[id].stage].name;
  RETURN_IF_ERROR(engine_->Prefill({&request, 1}).WithPrefix("prompt of stage " + Quote(stage)));
  return WrittenSegment{request.segment, request.segment->provenance().content_hash,
                        request.segment->token_count()};
}

void ChainRunner::ShareFrontPrompts(ChainRun* run) const {
  for (int id = 0; id < std::ssize(front_prompts_); ++id) {
    if (front_prompts_[id].segment == nullptr) continue;
    run->SetFrontPrompt(id, front_prompts_[id], /*own_work=*/false);
  }
}

Status ChainRunner::PrefillStep(int step, std::span<ChainRun* const> runs) {
  const PlanStep& planned = plan().steps[step];
  if (options_.cold && planned.run == 0) {
    for (int id = 0; id < std::ssize(plan().segments); ++id) {
      if (!plan().OutlivesRecords(id) || plan().segments[id].stage != planned.stage) continue;
      ASSIGN_OR_RETURN(const WrittenSegment prompt, WriteFrontPrompt(id));
      for (ChainRun* run : runs) run->SetFrontPrompt(id, prompt, /*own_work=*/true);
      runs.front()->CountFrontPrompt(id);
    }
  }
  for (int group = 0; group < std::ssize(chain_->GroupsOf(step)); ++group) {
    std::vector<PrefillRequest> requests;
    std::vector<std::pair<ChainRun*, int>> targets;
    for (ChainRun* run : runs) {
      ASSIGN_OR_RETURN(std::vector<PlannedPrefill> prefills, run->Prefills(group));
      for (PlannedPrefill& prefill : prefills) {
        requests.push_back(std::move(prefill.request));
        targets.emplace_back(run, prefill.id);
      }
    }
    RETURN_IF_ERROR(engine_->Prefill(requests));
    for (size_t i = 0; i < requests.size(); ++i) {
      targets[i].first->TakePrefilled(targets[i].second, requests[i]);
    }
  }
  return Status::Ok();
}

Status ChainRunner::DecodeStep(std::span<ChainRun* const> runs) {
  std::vector<DecodeRequest> requests;
  for (ChainRun* run : runs) {
    ASSIGN_OR_RETURN(DecodeRequest request, run->Output());
    requests.push_back(std::move(request));
  }
  RETURN_IF_ERROR(engine_->Decode(requests));
  // In lockstep a step ends for all records when it ends for the last one.
  for (size_t i = 0; i < requests.size(); ++i) runs[i]->TakeOutput(std::move(requests[i]));
  return Status::Ok();
}

Status ChainRunner::RunStep(int step, std::span<Job*> jobs) {
  const bool is_tool = plan().steps[step].tool >= 0;
  std::vector<Job*> live;
  std::vector<ChainRun*> runs;
  for (Job* job : jobs) {
    job->status = is_tool ? job->run.RunTool(*tools_) : job->run.BeginStep();
    if (!job->status.ok()) continue;
    live.push_back(job);
    runs.push_back(&job->run);
  }
  if (live.empty()) return Status::Ok();
  if (!is_tool) {
    RETURN_IF_ERROR(PrefillStep(step, runs));
    RETURN_IF_ERROR(DecodeStep(runs));
  }
  for (Job* job : live) {
    job->run.EndStep();
    if (!is_tool && on_step) on_step(job->index, step, job->run.written());
  }
  return Status::Ok();
}

// Scarcity ends the batch: then no result is whole.
Status ChainRunner::RunBatch(std::span<const Record> records, size_t first,
                             std::span<RecordResult> results) {
  std::deque<Job> jobs;
  for (const Record& record : records) {
    jobs.emplace_back(first + jobs.size(), *chain_, record);
  }
  for (Job& job : jobs) {
    ShareFrontPrompts(&job.run);
    job.status = job.run.Prepare();
  }
  Status status;
  for (int step = 0; step < plan().step_count() && status.ok(); ++step) {
    std::vector<Job*> here;
    for (Job& job : jobs) {
      if (job.IsAt(step)) here.push_back(&job);
    }
    if (!here.empty()) status = RunStep(step, here);
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    results[i] = jobs[i].run.TakeResult();
    results[i].status = jobs[i].status;
  }
  return status;
}

std::vector<RecordResult> ChainRunner::Run(std::span<const Record> records) {
  std::vector<RecordResult> results(records.size());
  const std::span<RecordResult> all(results);
  const size_t batch = static_cast<size_t>(options_.batch);
  for (size_t begin = 0; begin < records.size(); begin += batch) {
    const size_t count = std::min(batch, records.size() - begin);
    const Status together =
        RunBatch(records.subspan(begin, count), begin, all.subspan(begin, count));
    if (together.ok()) continue;
    // Scarcity in a batch is retried record by record.
    for (size_t i = begin; i < begin + count; ++i) {
      const Status status =
          count == 1 ? together : RunBatch(records.subspan(i, 1), i, all.subspan(i, 1));
      if (!status.ok()) results[i].status = status.WithPrefix(records[i].Where());
    }
  }
  return results;
}

}  // namespace onepass
