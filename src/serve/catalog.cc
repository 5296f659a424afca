#include "serve/catalog.h"

#include <algorithm>
#include <filesystem>

#include "core/quote.h"

namespace onepass {
namespace {

// What the tokenizer puts in front of a text, as a template's literal.
std::string PrefixOf(const Tokenizer& tokenizer) {
  std::string prefix;
  for (const TokenId id : tokenizer.Encode("", {.add_special_tokens = true})) {
    for (const char c : tokenizer.TokenOf(id)) {
      prefix += c;
      if (c == '{' || c == '}') prefix += c;
    }
  }
  return prefix;
}

// The tokens that end a text.
std::vector<std::string> EndTokens(const Base& base) {
  std::vector<std::string> tokens;
  for (const TokenId id : base.config().eos_tokens) {
    if (std::string token = base.tokenizer->TokenOf(id); !token.empty()) tokens.push_back(token);
  }
  return tokens;
}

ChainSpec BaseSpec(const Base& base, const std::string& name) {
  ChainSpec spec;
  spec.name = spec.file = name;
  spec.shared = PrefixOf(*base.tokenizer) + "{prompt}";
  spec.api.prompt = "prompt";
  StageSpec& stage = spec.stages.emplace_back();
  stage.name = "base";
  stage.stop_tokens = EndTokens(base);
  return spec;
}

// A stage alone: its prompt, then any text, then its output.
ChainSpec StageAlone(const ChainSpec& chain, int stage, const std::string& name) {
  ChainSpec spec;
  spec.name = name;
  spec.file = chain.file;
  spec.placement = chain.placement;
  spec.shared = "{prompt}";
  spec.api.prompt = "prompt";
  spec.stages = {chain.stages[stage]};
  StageSpec& alone = spec.stages.front();
  alone.input.clear();
  // An output without a start token follows what saw its prompt: not the shared input.
  if (alone.start.empty()) std::swap(spec.shared, alone.input);
  alone.input_first = false;
  alone.reads.reset();
  alone.handoff.reset();
  return spec;
}

}  // namespace

Result<std::unique_ptr<ServedModel>> ServedModel::Bind(const Base& base, std::string id, Kind kind,
                                                       const ChainSpec& spec,
                                                       ChainPrompts prompts) {
  std::unique_ptr<ServedModel> model(new ServedModel);
  model->id_ = std::move(id);
  model->kind_ = kind;
  model->handoff_ = spec.handoff;
  for (const Handoff handoff : kHandoffs) {
    ChainSpec bound = spec;
    // Its own may differ from stage to stage.
    if (handoff != spec.handoff) bound.SetHandoff(handoff);
    auto chain = BoundChain::Create(base, std::move(bound), prompts);
    if (!chain.ok() && handoff == spec.handoff) return chain.status();
    if (chain.ok()) model->chains_[static_cast<size_t>(handoff)] = std::move(chain).value();
  }
  ASSIGN_OR_RETURN(model->tools_, Tools::Open(spec));
  model->fields_ = model->chain().Fields();
  model->api_ = spec.api;
  if (model->api_.prompt.empty() && model->fields_.size() == 1) {
    model->api_.prompt = model->fields_.front();
  }
  const Plan& plan = model->chain().plan();
  const FlowPart& last = model->chain().flow().back();
  for (int step = 0; step < plan.step_count(); ++step) {
    if (plan.steps[step].stage < 0) continue;
    model->answer_stage_ = plan.steps[step].stage;
    model->answer_step_ = last.is_loop() ? -1 : step;
  }
  return model;
}

Result<std::string> ModelCatalog::BasePath(const CatalogOptions& options) {
  if (!options.base.empty()) return options.base;
  if (options.chains.empty()) {
    return InvalidArgument("want a chain or a base to serve, found neither");
  }
  std::string base;
  for (const auto& [name, file] : options.chains) {
    ASSIGN_OR_RETURN(const ChainSpec spec, LoadChainSpec(file));
    std::error_code error;
    if (base.empty()) base = spec.base;
    if (base == spec.base || std::filesystem::equivalent(base, spec.base, error)) continue;
    return InvalidArgument(file + ": base: want that of the chains before (" + base + "), found " +
                           spec.base);
  }
  return base;
}

Result<std::unique_ptr<ModelCatalog>> ModelCatalog::Load(const Base& base,
                                                         const CatalogOptions& options) {
  std::unique_ptr<ModelCatalog> catalog(new ModelCatalog);
  const auto add = [&](const std::string& id, ServedModel::Kind kind, const ChainSpec& spec,
                       ChainPrompts prompts) -> Status {
    if (id.empty() || id.size() > 256) {
      return InvalidArgument("model name: want 1 to 256 bytes, found " + std::to_string(id.size()));
    }
    if (catalog->Find(id) != nullptr) {
      return InvalidArgument("model name: want each once, found " + Quote(id) + " again");
    }
    ASSIGN_OR_RETURN(auto model, ServedModel::Bind(base, id, kind, spec, std::move(prompts)));
    catalog->models_.push_back(std::move(model));
    return Status::Ok();
  };
  std::vector<std::string> used_indexes;
  for (const auto& [name, file] : options.chains) {
    if (name.find('/') != std::string::npos) {
      return InvalidArgument("model name: want no \"/\", found " + Quote(name));
    }
    ASSIGN_OR_RETURN(ChainSpec spec, LoadChainSpec(file));
    for (const std::string& setting : options.indexes) {
      if (spec.ToolOf(setting.substr(0, setting.find('='))) < 0) continue;
      RETURN_IF_ERROR(spec.SetIndex(setting));
      used_indexes.push_back(setting);
    }
    ASSIGN_OR_RETURN(const ChainPrompts prompts, LoadChainPrompts(base, spec));
    RETURN_IF_ERROR(add(name, ServedModel::Kind::kChain, spec, prompts));
    for (int stage = 0; stage < std::ssize(spec.stages); ++stage) {
      const std::string id = name + "/" + spec.stages[stage].name;
      std::vector<SoftPrompt> own;
      own.push_back((*prompts)[stage].Copy());
      RETURN_IF_ERROR(add(id, ServedModel::Kind::kStage, StageAlone(spec, stage, id),
                          std::make_shared<const std::vector<SoftPrompt>>(std::move(own))));
    }
  }
  for (const std::string& setting : options.indexes) {
    if (std::ranges::find(used_indexes, setting) != used_indexes.end()) continue;
    return InvalidArgument("--index: want TOOL=FOLDER of a chain's tool, found " + Quote(setting));
  }
  RETURN_IF_ERROR(add(options.base_name, ServedModel::Kind::kBase,
                      BaseSpec(base, options.base_name),
                      std::make_shared<const std::vector<SoftPrompt>>(1)));
  return catalog;
}

const ServedModel* ModelCatalog::Find(std::string_view id) const {
  for (const std::unique_ptr<ServedModel>& model : models_) {
    if (model->id() == id) return model.get();
  }
  return nullptr;
}

}  // namespace onepass
