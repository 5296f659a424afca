#include "train/training_setup.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "chain/trace.h"
#include "core/hash.h"
#include "core/quote.h"
#include "train/stored_kv.h"
#include "train/upstream_outputs.h"

namespace onepass {
namespace {

constexpr int64_t kPageTokens = 16;  // segments are short: small pages waste little

// The trained stages.
Result<std::vector<int>> FindStages(const ChainSpec& spec, const Recipe& recipe) {
  std::vector<int> all;
  std::string names;
  for (int i = 0; i < std::ssize(spec.stages); ++i) {
    if (spec.stages[i].name == recipe.stage) return std::vector<int>{i};
    names += (i == 0 ? "" : ", ") + Quote(spec.stages[i].name);
    all.push_back(i);
  }
  const bool every = recipe.kind == TrainKind::kFthssMulti;
  if (recipe.stage.empty() && (every || spec.stages.size() == 1)) return all;
  return InvalidArgument(recipe.file + ": stage: want one of " + names + ", found " +
                         Quote(recipe.stage));
}

// The hand-offs that a kind of training compiles the plan with.
Status SetHandoffs(const Recipe& recipe, const std::vector<int>& stages, ChainSpec& spec) {
  switch (recipe.kind) {
    case TrainKind::kDistill:
      if (spec.stages.size() != 1) {
        return InvalidArgument(recipe.file +
                               ": chain: want a chain of one stage for kind distill, found " +
                               std::to_string(spec.stages.size()) + " stages in " + spec.file);
      }
      [[fallthrough]];
    case TrainKind::kStandard: {
      const StageSpec& trained = spec.stages[stages.front()];
      const bool cached = trained.handoff.value_or(spec.handoff) == Handoff::kTextCached;
      spec.SetHandoff(cached ? Handoff::kTextCached : Handoff::kText);
      return Status::Ok();
    }
    case TrainKind::kFthss:
    case TrainKind::kFthssMulti:
      // A constant stage may well have a hand-off of its own; the trained ones read KV.
      spec.handoff = Handoff::kKv;
      for (const int stage : stages) spec.stages[stage].handoff.reset();
      return Status::Ok();
  }
  return Status::Ok();
}

Status LoadInitPrompts(TrainingSetup& setup) {
  const Recipe& recipe = setup.recipe;
  const std::vector<std::string>& folders = recipe.init_prompts;
  if (!folders.empty() && folders.size() != setup.stages.size()) {
    return InvalidArgument(recipe.file + ": init_prompt: want " +
                           std::to_string(setup.stages.size()) + ", one a trained stage, found " +
                           std::to_string(folders.size()));
  }
  for (size_t i = 0; i < folders.size(); ++i) {
    const std::string& folder = folders[i];
    const PromptPlace place = PlaceOnBase(*setup.base, setup.spec.placement,
                                          setup.spec.stages[setup.stages[i]].added_tokens);
    ASSIGN_OR_RETURN(SoftPrompt prompt, LoadSoftPrompt(folder));
    RETURN_IF_ERROR(
        CheckPromptFits(prompt, folder, place).WithPrefix(recipe.file + ": init_prompt"));
    setup.init_prompts.push_back(std::move(prompt));
  }
  return Status::Ok();
}

// Loads the other stages' prompts, as far as they exist, and finds every stage's prompt length.
Status LoadPrompts(TrainingSetup& setup) {
  const Recipe& recipe = setup.recipe;
  const int first = setup.stages.front();
  if (!recipe.upstream_prompts.empty() && std::ssize(recipe.upstream_prompts) != first) {
    return InvalidArgument(recipe.file + ": upstream_prompts: want " + std::to_string(first) +
                           ", one an earlier stage, found " +
                           std::to_string(recipe.upstream_prompts.size()));
  }
  for (int i = 0; i < std::ssize(recipe.upstream_prompts); ++i) {
    setup.spec.stages[i].prompt = recipe.upstream_prompts[i];
  }
  RETURN_IF_ERROR(LoadInitPrompts(setup));
  setup.prompts.resize(setup.spec.stages.size());
  setup.prompt_faults.resize(setup.spec.stages.size());
  for (int i = 0; i < std::ssize(setup.spec.stages); ++i) {
    const std::string& folder = setup.spec.stages[i].prompt;
    if (setup.Trains(i)) {
      const bool fresh = setup.init_prompts.empty();
      const int64_t at = std::ranges::find(setup.stages, i) - setup.stages.begin();
      setup.prompt_lengths.push_back(fresh ? recipe.prompt_length
                                           : setup.init_prompts[at].length());
      continue;
    }
    std::error_code error;
    if (folder.empty()) {
      setup.prompt_lengths.push_back(0);
      continue;
    }
    const bool trained = std::filesystem::exists(folder, error);
    if (error) return IoError(folder + ": cannot look for a prompt: " + error.message());
    if (!trained) {
      // Not trained yet: only its length matters, and only for positions.
      setup.prompt_lengths.push_back(recipe.prompt_length);
    } else {
      ASSIGN_OR_RETURN(SoftPrompt prompt, LoadSoftPrompt(folder));
      const Status fits = CheckPromptFits(
          prompt, folder,
          PlaceOnBase(*setup.base, setup.spec.placement, setup.spec.stages[i].added_tokens));
      if (!fits.ok()) {
        // One of another base, say, will be trained again; it is a fault where it is needed now.
        setup.prompt_faults[i] =
            fits.WithPrefix(i < std::ssize(recipe.upstream_prompts)
                                ? recipe.file + ": upstream_prompts"
                                : setup.spec.file + ": stage " + Quote(setup.spec.stages[i].name));
        if (i < first && setup.spec.flow.empty()) return setup.prompt_faults[i];
        setup.prompt_lengths.push_back(recipe.prompt_length);
        continue;
      }
      setup.prompt_lengths.push_back(prompt.length());
      setup.prompts[i] = std::move(prompt);
    }
  }
  return Status::Ok();
}

// A stage's prompt that is needed and not there.
Status MissingPrompt(const TrainingSetup& setup, const std::string& where, int index) {
  RETURN_IF_ERROR(setup.prompt_faults[index]);
  const StageSpec& stage = setup.spec.stages[index];
  return NotFound(where + ": stage " + Quote(stage.name) + ": want its trained prompt at " +
                  stage.prompt + ", found none (train it first)");
}

// The plan up to the last trained output. What runs later takes part in the prompts' positions
// only.
Status CompileTrainingPlan(TrainingSetup& setup) {
  ASSIGN_OR_RETURN(setup.plan, CompilePlan(setup.spec, setup.prompt_lengths));
  int last = setup.plan.step_count() - 1;
  while (!setup.Trains(setup.plan.steps[last].stage)) --last;  // a tool's is -1
  setup.plan.KeepSteps(last + 1);
  ASSIGN_OR_RETURN(setup.tape,
                   MakeTapePlan(setup.plan, setup.stages, setup.recipe.taped_constants));
  for (size_t id = 0; id < setup.plan.segments.size(); ++id) {
    const PlannedSegment& segment = setup.plan.segments[id];
    if (segment.kind != SegmentKind::kPrompt || setup.Trains(segment.stage)) continue;
    if (setup.tape.roles[id] == TapeRole::kUnused || setup.prompts[segment.stage].has_value()) {
      continue;
    }
    return MissingPrompt(setup, setup.spec.file, segment.stage);
  }
  return Status::Ok();
}

// The earlier stages' own outputs for every record that is read.
Result<std::function<Status(Record*)>> GenerateUpstream(TrainingSetup& setup,
                                                        TrainObserver* observer) {
  const std::string where = setup.recipe.file + ": upstream_outputs";
  const int stage = setup.stages.front();
  if (stage == 0) {
    return InvalidArgument(where + ": generated: want a stage with earlier ones, found " +
                           Quote(setup.spec.stages[0].name) + ", the first");
  }
  if (!setup.spec.flow.empty()) {
    return InvalidArgument(where + ": generated: want a chain without a flow, found one in " +
                           setup.spec.file);
  }
  for (int i = 0; i < stage; ++i) {
    const bool missing = setup.prompt_lengths[i] > 0 && !setup.prompts[i].has_value();
    if (missing) return MissingPrompt(setup, where, i);
  }
  ASSIGN_OR_RETURN(
      std::shared_ptr<UpstreamOutputs> upstream,
      UpstreamOutputs::Create(*setup.base, setup.spec, stage, setup.prompts, setup.prompt_lengths));
  return std::function([upstream, observer, fields = setup.recipe.outputs,
                        count = int64_t{0}](Record* record) mutable -> Status {
    RETURN_IF_ERROR(upstream->WriteInto(fields, record));
    if (observer != nullptr) observer->OnUpstreamOutputs(++count);
    return Status::Ok();
  });
}

Status LoadSamples(TrainingSetup& setup, TrainObserver* observer) {
  const Recipe& recipe = setup.recipe;
  if (recipe.kind != TrainKind::kDistill) {
    RETURN_IF_ERROR(CheckTraceFields(setup.plan, recipe.outputs).WithPrefix(recipe.file));
  } else if (std::ranges::count(setup.plan.steps, 0, &PlanStep::stage) > 1) {
    return InvalidArgument(recipe.file + ": chain: want a stage that runs once for kind distill," +
                           " found one that runs again in " + setup.spec.file);
  }
  DatasetOptions options{.cut_field = setup.spec.cut_field,
                         .outputs = recipe.outputs,
                         .distill_rounds = PartsOf(recipe.distill_rounds),
                         .distill_output = recipe.distill_output,
                         .max_tokens = recipe.max_tokens,
                         .max_positions = setup.base->config().max_positions,
                         .on_error = recipe.on_error};
  options.overlong = recipe.overlong.value_or(
      setup.spec.overlong == Overlong::kCut ? OverlongSample::kCut : OverlongSample::kRefuse);
  if (recipe.upstream_outputs == UpstreamSource::kGenerated) {
    ASSIGN_OR_RETURN(options.prepare, GenerateUpstream(setup, observer));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Tools> tools, Tools::Open(setup.spec));
  options.tools = tools.get();
  ASSIGN_OR_RETURN(const ChainTemplates templates,
                   ChainTemplates::Create(setup.spec, *setup.vocabulary));
  ASSIGN_OR_RETURN(setup.data, LoadDataset(recipe.data, templates, setup.plan, setup.tape,
                                           setup.prompt_lengths, options));
  if (!recipe.validation_data.empty()) {
    options.max_samples = recipe.validation_samples;
    ASSIGN_OR_RETURN(setup.validation, LoadDataset(recipe.validation_data, templates, setup.plan,
                                                   setup.tape, setup.prompt_lengths, options));
  }
  return Status::Ok();
}

// Added tokens among the samples: those that are trained need a tape where they are read, the
// others their rows.
Status PlaceAddedTokens(TrainingSetup& setup) {
  const ChainVocabulary& vocabulary = *setup.vocabulary;
  if (vocabulary.added_count() == 0) return Status::Ok();
  for (const Dataset* dataset : {&setup.data, &setup.validation}) {
    for (const TrainSample& sample : dataset->samples) {
      for (int id = 0; id < std::ssize(sample.tokens); ++id) {
        if (setup.tape.roles[id] == TapeRole::kUnused) continue;
        for (const int32_t token : sample.tokens[id]) {
          if (!vocabulary.IsAdded(token)) continue;
          const int stage = vocabulary.StageOf(token);
          if (setup.Trains(stage)) {
            if (setup.tape.roles[id] == TapeRole::kConstant) setup.tape.TapeToo(setup.plan, id);
          } else if (!setup.prompts[stage].has_value()) {
            return MissingPrompt(setup, setup.spec.file, stage);
          }
        }
      }
    }
  }
  return Status::Ok();
}

AddedTokenIds IdsOf(const ChainVocabulary& vocabulary, size_t stage_count) {
  AddedTokenIds ids;
  for (size_t i = 0; i < stage_count; ++i) {
    ids.first.push_back(vocabulary.first_of(static_cast<int>(i)));
  }
  ids.first.push_back(vocabulary.added_count());
  return ids;
}

// The rows of a loaded prompt's added tokens, in the order of its stage.
Buffer<float> EmbeddingOfTokens(const SoftPrompt& prompt, const StageSpec& stage) {
  Buffer<float> rows(std::ssize(stage.added_tokens), prompt.width());
  for (int64_t i = 0; i < rows.rows(); ++i) {
    std::ranges::copy(prompt.RowsOf(stage.added_tokens[i])->embedding, rows.view().row(i));
  }
  return rows;
}

uint64_t HashPlan(const Plan& plan, const TapePlan& tape) {
  uint64_t hash = 0;
  for (const int target : tape.targets) hash = HashCombine(hash, static_cast<uint64_t>(target));
  for (const PlannedSegment& segment : plan.segments) {
    hash = HashCombine(hash, static_cast<uint64_t>(segment.kind));
    hash = HashCombine(hash, static_cast<uint64_t>(segment.stage));
    hash = HashCombine(hash, static_cast<uint64_t>(segment.step));
    hash = HashCombine(hash, static_cast<uint64_t>(segment.after));
    hash = HashCombine(hash, static_cast<uint64_t>(segment.offset));
    hash = HashCombine(hash, static_cast<uint64_t>(segment.before_shared));
    for (int seen : segment.view) hash = HashCombine(hash, static_cast<uint64_t>(seen) + 1);
  }
  return hash;
}

std::string MakeIdentity(const TrainingSetup& setup) {
  nlohmann::json identity = nlohmann::json::parse(setup.recipe.ToJson(/*with_paths=*/false));
  identity["base_fingerprint"] = setup.base->checkpoint->Fingerprint();
  identity["plan_hash"] = HashPlan(setup.plan, setup.tape);
  identity["data_hash"] = setup.data.content_hash;
  identity["validation_data_hash"] = setup.validation.content_hash;
  uint64_t prompts_hash = 0;
  for (size_t id = 0; id < setup.plan.segments.size(); ++id) {
    const PlannedSegment& segment = setup.plan.segments[id];
    if (segment.kind == SegmentKind::kPrompt && !setup.Trains(segment.stage) &&
        setup.tape.roles[id] != TapeRole::kUnused) {
      prompts_hash = HashCombine(prompts_hash, setup.prompts[segment.stage]->content_hash);
    }
  }
  identity["upstream_prompts_hash"] = prompts_hash;
  uint64_t init_hash = 0;
  for (const SoftPrompt& prompt : setup.init_prompts) {
    init_hash = init_hash == 0 ? prompt.content_hash : HashCombine(init_hash, prompt.content_hash);
  }
  identity["init_prompt_hash"] = init_hash;
  std::vector<int64_t> lengths;
  for (const int stage : setup.stages) lengths.push_back(setup.prompt_lengths[stage]);
  identity["trained_prompt_length"] = lengths;
  return identity.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

bool TrainingSetup::Trains(int stage) const {
  return std::ranges::find(stages, stage) != stages.end();
}

Result<std::unique_ptr<TrainingSetup>> PrepareTraining(const Recipe& recipe,
                                                       TrainObserver* observer) {
  auto setup = std::make_unique<TrainingSetup>();
  setup->recipe = recipe;
  ASSIGN_OR_RETURN(setup->spec, LoadChainSpec(recipe.chain));
  if (recipe.placement.has_value()) setup->spec.placement = *recipe.placement;
  for (const std::string& index : recipe.indexes) {
    RETURN_IF_ERROR(setup->spec.SetIndex(index).WithPrefix(recipe.file));
  }
  ASSIGN_OR_RETURN(setup->stages, FindStages(setup->spec, recipe));
  RETURN_IF_ERROR(SetHandoffs(recipe, setup->stages, setup->spec));
  Result<std::unique_ptr<Base>> base =
      LoadBase(setup->spec.base, {.backend = recipe.backend,
                                  .thread_count = static_cast<int>(recipe.threads),
                                  .bf16 = recipe.bf16});
  RETURN_IF_ERROR(base.status().WithPrefix(setup->spec.file + ": base"));
  setup->base = *std::move(base);
  ASSIGN_OR_RETURN(setup->vocabulary, ChainVocabulary::Create(setup->spec, *setup->base->tokenizer,
                                                              setup->base->config().vocab_size));
  RETURN_IF_ERROR(LoadPrompts(*setup));
  RETURN_IF_ERROR(CompileTrainingPlan(*setup));
  RETURN_IF_ERROR(LoadSamples(*setup, observer));
  RETURN_IF_ERROR(PlaceAddedTokens(*setup));
  setup->identity = MakeIdentity(*setup);

  int64_t pages = 0;
  for (const Dataset* dataset : {&setup->data, &setup->validation}) {
    pages = std::max(pages, PagesNeeded(setup->plan, setup->tape, setup->prompt_lengths,
                                        dataset->samples, recipe.batch_size, kPageTokens));
  }
  setup->pool =
      std::make_unique<PagePool>(setup->base->config().Layout(kPageTokens, DType::kF32), pages);
  setup->gradient = std::make_unique<PromptGradient<float>>(
      *setup->base->model, *setup->pool, setup->plan, setup->tape, setup->prompt_lengths,
      recipe.activation_checkpointing ? TapeMode::kRecomputeActivations
                                      : TapeMode::kKeepActivations,
      IdsOf(*setup->vocabulary, setup->spec.stages.size()));
  for (int i = 0; i < std::ssize(setup->prompts); ++i) {
    if (setup->prompts[i].has_value()) {
      const SoftPrompt& prompt = *setup->prompts[i];
      setup->gradient->SetConstantPrompt(i, prompt.vectors.view());
      const Buffer<float> tokens = EmbeddingOfTokens(prompt, setup->spec.stages[i]);
      setup->gradient->SetConstantTokens(i, tokens.view());
    }
  }
  if (recipe.upstream_kv.empty()) return setup;
  ASSIGN_OR_RETURN(setup->data_kv,
                   StoredKv::Open(StoredKvPath(recipe.upstream_kv, false), *setup, setup->data));
  if (setup->validation.samples.empty()) return setup;
  ASSIGN_OR_RETURN(setup->validation_kv, StoredKv::Open(StoredKvPath(recipe.upstream_kv, true),
                                                        *setup, setup->validation));
  return setup;
}

std::string StoredKvPath(const std::string& folder, bool validation) {
  return folder + (validation ? "/validation.safetensors" : "/train.safetensors");
}

}  // namespace onepass
