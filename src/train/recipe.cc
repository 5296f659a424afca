#include "train/recipe.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "chain/template.h"
#include "chain/trace.h"
#include "chain/yaml.h"
#include "core/file.h"
#include "core/quote.h"
#include "train/recipe_keys.h"

namespace onepass {
namespace {

constexpr int64_t kMaxRecipeBytes = 1 << 20;

std::string KeyNames() {
  std::string names;
  for (const RecipeKey& key : RecipeKeys()) names += (names.empty() ? "" : ", ") + key.name;
  return names;
}

// Sets one key; `place` is where it stands.
Status SetKey(Recipe& recipe, const std::string& place, const std::string& name,
              const std::string& text, const std::string& file) {
  for (const RecipeKey& key : RecipeKeys()) {
    if (key.name != name) continue;
    if (key.set(recipe, text, file)) return Status::Ok();
    return InvalidArgument(place + ": " + name + ": want " + key.wanted + ", found " + Quote(text));
  }
  std::vector<std::string> known;
  for (const RecipeKey& key : RecipeKeys()) known.push_back(key.name);
  const std::string near = NearestWord(name, known);
  return InvalidArgument(place + ": unknown key " + Quote(name) +
                         (near.empty() ? "" : ", did you mean \"" + near + "\"?") +
                         " (known: " + KeyNames() + ")");
}

// What the keys must satisfy together.
Status CheckTogether(const Recipe& recipe) {
  const auto missing = [&](const char* key, const char* why) {
    return InvalidArgument(recipe.file + ": " + key + ": want a value" + why + ", found none");
  };
  if (recipe.chain.empty()) return missing("chain", "");
  if (recipe.data.empty()) return missing("data", "");
  if (recipe.out.empty()) return missing("out", "");
  if (recipe.kind == TrainKind::kDistill) {
    if (recipe.distill_output.empty() && recipe.distill_rounds.empty()) {
      return missing("distill_output", " for kind distill");
    }
    for (const std::string& part : PartsOf(recipe.distill_rounds)) {
      const std::string where = recipe.file + ": distill_rounds";
      const auto pieces = ParseTemplate(TraceField(part, 0));
      RETURN_IF_ERROR(pieces.status().WithPrefix(where));
      const auto later = ParseTemplate(TraceField(part, 1));
      RETURN_IF_ERROR(later.status().WithPrefix(where));
      // A record's rounds end where it lacks one of these.
      bool counts = false;
      for (size_t i = 0; i < pieces->size(); ++i) {
        counts = counts || ((*pieces)[i].is_field && (*pieces)[i].text != (*later)[i].text);
      }
      if (counts) continue;
      return InvalidArgument(where + ": want templates with a field that has {round}, found " +
                             Quote(part));
    }
  } else {
    if (recipe.outputs.empty()) return missing("outputs", "");
    if (!recipe.distill_output.empty() || !recipe.distill_rounds.empty()) {
      return InvalidArgument(recipe.file +
                             ": distill_output: want it for kind distill only, found " + "kind " +
                             std::string(NameOf(recipe.kind)));
    }
  }
  if (recipe.kind == TrainKind::kFthssMulti) {
    const char* key = !recipe.stage.empty()                                   ? "stage"
                      : !recipe.upstream_prompts.empty()                      ? "upstream_prompts"
                      : recipe.upstream_outputs == UpstreamSource::kGenerated ? "upstream_outputs"
                                                                              : nullptr;
    if (key != nullptr) {
      return InvalidArgument(recipe.file + ": " + key +
                             ": kind fthss-multi trains all stages at once: want no value");
    }
  }
  if (recipe.init == PromptInit::kText && recipe.init_text.empty() && recipe.init_prompts.empty()) {
    return missing("init_text", " for init text");
  }
  return Status::Ok();
}

}  // namespace

std::string_view NameOf(TrainKind kind) {
  switch (kind) {
    case TrainKind::kStandard:
      return "standard";
    case TrainKind::kFthss:
      return "fthss";
    case TrainKind::kFthssMulti:
      return "fthss-multi";
    case TrainKind::kDistill:
      return "distill";
  }
  return "?";
}

std::string Recipe::ToJson(bool with_paths) const {
  nlohmann::json json = nlohmann::json::object();  // sorted keys
  for (const RecipeKey& key : RecipeKeys()) {
    if (key.shapes_result && (with_paths || !key.is_path)) json[key.name] = key.get(*this);
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<Recipe> ParseRecipe(std::string_view yaml, const std::string& file,
                           std::span<const std::string> overrides) {
  Recipe recipe;
  recipe.file = file;
  ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(yaml, file));
  if (root.kind != YamlNode::Kind::kMap && root.kind != YamlNode::Kind::kNull) {
    return InvalidArgument(file + ": want one \"key: value\" a line, found " + Describe(root));
  }
  for (size_t i = 0; i < root.keys.size(); ++i) {
    const YamlNode& value = root.items[i];
    const std::string place = file + ":" + std::to_string(root.key_lines[i]);
    if (value.kind == YamlNode::Kind::kList || value.kind == YamlNode::Kind::kMap) {
      return InvalidArgument(place + ": " + Quote(root.keys[i]) + ": want one value, found " +
                             Describe(value));
    }
    RETURN_IF_ERROR(SetKey(recipe, place, root.keys[i], value.scalar, file));
  }
  for (const std::string& text : overrides) {
    const size_t equals = text.find('=');
    const std::string place = "override " + Quote(text);
    if (equals == std::string::npos) {
      return InvalidArgument(place + ": want key=value, found no \"=\"");
    }
    RETURN_IF_ERROR(
        SetKey(recipe, place, text.substr(0, equals), text.substr(equals + 1), /*file=*/""));
  }
  RETURN_IF_ERROR(CheckTogether(recipe));
  return recipe;
}

std::vector<std::string> PartsOf(std::string_view text) {
  std::vector<std::string> parts;
  if (text.empty()) return parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(kPartBorder, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + kPartBorder.size();
  }
  return parts;
}

Result<Recipe> LoadRecipe(const std::string& path, std::span<const std::string> overrides) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxRecipeBytes));
  return ParseRecipe(text, path, overrides);
}

}  // namespace onepass
