// What a server offers under which name: chains ("NAME"), each of their stages alone
// ("NAME/STAGE"), and the base. All over one base.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chain/bound_chain.h"
#include "chain/tools.h"
#include "engine/engine.h"

namespace onepass {

// Immutable but for the tools, which the engine's thread alone uses.
class ServedModel {
 public:
  enum class Kind { kChain, kStage, kBase };

  const std::string& id() const { return id_; }
  Kind kind() const { return kind_; }
  // With its own hand-off.
  const BoundChain& chain() const { return *chains_[static_cast<size_t>(handoff_)]; }
  Handoff handoff() const { return handoff_; }
  // With another one; null where there is no such plan.
  const BoundChain* ChainWith(Handoff handoff) const {
    return chains_[static_cast<size_t>(handoff)].get();
  }
  Tools& tools() const { return *tools_; }
  // The fields that its templates use, and those of them that a prompt and a system message fill;
  // empty: none.
  const std::vector<std::string>& fields() const { return fields_; }
  const ApiFields& api() const { return api_; }
  // The step whose output is the answer; -1: which of them it is shows at the end (a loop's last).
  int answer_step() const { return answer_step_; }
  int answer_stage() const { return answer_stage_; }

 private:
  friend class ModelCatalog;
  static Result<std::unique_ptr<ServedModel>> Bind(const Base& base, std::string id, Kind kind,
                                                   const ChainSpec& spec, ChainPrompts prompts);

  std::string id_;
  Kind kind_ = Kind::kChain;
  Handoff handoff_ = Handoff::kKv;
  std::array<std::unique_ptr<const BoundChain>, 3> chains_;  // by hand-off
  std::unique_ptr<Tools> tools_;
  std::vector<std::string> fields_;
  ApiFields api_;
  int answer_step_ = -1;
  int answer_stage_ = 0;
};

struct CatalogOptions {
  std::vector<std::pair<std::string, std::string>> chains;  // name and file
  std::string base;  // folder or GGUF file; empty: that of the first chain
  std::string base_name = "base";
  std::vector<std::string> indexes;  // "TOOL=FOLDER", for every chain that has the tool
};

// Immutable; thread-safe. Not copyable.
class ModelCatalog {
 public:
  // The base that the options mean: the chains' own, which must be one.
  static Result<std::string> BasePath(const CatalogOptions& options);
  // Errors name the chain's file. The base must outlive it.
  static Result<std::unique_ptr<ModelCatalog>> Load(const Base& base,
                                                    const CatalogOptions& options);

  // Null: there is none.
  const ServedModel* Find(std::string_view id) const;
  const std::vector<std::unique_ptr<ServedModel>>& models() const { return models_; }

 private:
  ModelCatalog() = default;
  std::vector<std::unique_ptr<ServedModel>> models_;
};

}  // namespace onepass
