#include "train/recipe_keys.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "chain/yaml.h"

namespace onepass {
namespace {

constexpr int64_t kMaxCount = int64_t{1} << 30;  // products of two stay far from overflow
constexpr int64_t kMaxThreads = 1024;
constexpr int64_t kMaxPromptLength = int64_t{1} << 16;

template <class T>
bool ParseNumber(const std::string& text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string Shortest(double value) {
  char text[32];
  const auto result = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, result.ptr);
}

RecipeKey Integer(std::string name, int64_t Recipe::*field, int64_t least, bool shapes_result,
                  int64_t most = kMaxCount) {
  const std::string wanted = "a whole number, " + std::to_string(least) +
                             (most == kMaxCount ? " or more" : " to " + std::to_string(most));
  return {std::move(name), wanted, shapes_result,
          [=](Recipe& r, const std::string& text, const std::string&) {
            int64_t value = 0;
            if (!ParseNumber(text, &value) || value < least || value > most) return false;
            r.*field = value;
            return true;
          },
          [=](const Recipe& r) { return nlohmann::json(r.*field); }};
}

RecipeKey Seed(std::string name, uint64_t Recipe::*field) {
  return {std::move(name), "a whole number, 0 or more", true,
          [=](Recipe& r, const std::string& text, const std::string&) {
            return ParseNumber(text, &(r.*field));
          },
          [=](const Recipe& r) { return nlohmann::json(r.*field); }};
}

// least < value <= most, or least <= value with closed.
RecipeKey Number(std::string name, double Recipe::*field, double least, bool closed, double below) {
  const std::string wanted =
      "a number " + std::string(closed ? ">= " : "> ") + Shortest(least) +
      (below < std::numeric_limits<double>::infinity() ? " and < " + Shortest(below) : "");
  return {std::move(name), wanted, true,
          [=](Recipe& r, const std::string& text, const std::string&) {
            double value = 0;
            if (!ParseNumber(text, &value) || !std::isfinite(value)) return false;
            if (closed ? value < least : value <= least) return false;
            if (value >= below) return false;
            r.*field = value;
            return true;
          },
          [=](const Recipe& r) { return nlohmann::json(r.*field); }};
}

RecipeKey Text(std::string name, std::string Recipe::*field, bool shapes_result) {
  return {std::move(name), "a text", shapes_result,
          [=](Recipe& r, const std::string& text, const std::string&) {
            r.*field = text;
            return true;
          },
          [=](const Recipe& r) { return nlohmann::json(r.*field); }};
}

RecipeKey Path(std::string name, std::string Recipe::*field, bool shapes_result) {
  return {std::move(name),
          "a path",
          shapes_result,
          [=](Recipe& r, const std::string& text, const std::string& file) {
            r.*field = file.empty() ? text : ResolveBeside(file, text);
            return true;
          },
          [=](const Recipe& r) { return nlohmann::json(r.*field); },
          /*is_path=*/true};
}

std::vector<std::string> SplitList(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size() && !text.empty()) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    std::string part = text.substr(begin, comma - begin);
    const size_t first = part.find_first_not_of(' ');
    const size_t last = part.find_last_not_of(' ');
    parts.push_back(first == std::string::npos ? "" : part.substr(first, last - first + 1));
    begin = comma + 1;
  }
  return parts;
}

RecipeKey List(std::string name, std::vector<std::string> Recipe::*field, std::string wanted,
               bool is_path) {
  return {std::move(name),
          std::move(wanted),
          true,
          [=](Recipe& r, const std::string& text, const std::string& file) {
            std::vector<std::string> parts = SplitList(text);
            for (std::string& part : parts) {
              if (part.empty()) return false;
              if (is_path && !file.empty()) part = ResolveBeside(file, part);
            }
            r.*field = std::move(parts);
            return true;
          },
          [=](const Recipe& r) { return nlohmann::json(r.*field); },
          is_path};
}

template <class Field>
RecipeKey Choice(std::string name, Field Recipe::*field,
                 std::vector<std::pair<std::string, Field>> choices, bool shapes_result) {
  std::string wanted;
  for (const auto& choice : choices) wanted += (wanted.empty() ? "" : " | ") + choice.first;
  return {std::move(name), wanted, shapes_result,
          [=](Recipe& r, const std::string& text, const std::string&) {
            for (const auto& [spelled, value] : choices) {
              if (text != spelled) continue;
              r.*field = value;
              return true;
            }
            return false;
          },
          [=](const Recipe& r) {
            for (const auto& [spelled, value] : choices) {
              if (r.*field == value) return nlohmann::json(spelled);
            }
            return nlohmann::json();
          }};
}

}  // namespace

const std::vector<RecipeKey>& RecipeKeys() {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  using OptionalPlacement = std::optional<Placement>;
  static const std::vector<RecipeKey>* keys = new std::vector<RecipeKey>{
      Choice<TrainKind>("kind", &Recipe::kind,
                        {{"standard", TrainKind::kStandard},
                         {"fthss", TrainKind::kFthss},
                         {"fthss-multi", TrainKind::kFthssMulti},
                         {"distill", TrainKind::kDistill}},
                        true),
      Path("chain", &Recipe::chain, true),
      Text("stage", &Recipe::stage, true),
      Choice<OptionalPlacement>("placement", &Recipe::placement,
                                {{"front", Placement::kFront}, {"inline", Placement::kInline}},
                                true),
      List("upstream_prompts", &Recipe::upstream_prompts,
           "folders of the earlier stages' prompts, separated by commas", true),
      Choice<UpstreamSource>(
          "upstream_outputs", &Recipe::upstream_outputs,
          {{"record", UpstreamSource::kRecord}, {"generated", UpstreamSource::kGenerated}}, true),
      Path("upstream_kv", &Recipe::upstream_kv, false),
      List("index", &Recipe::indexes, "TOOL=FOLDER of an index, separated by commas", false),
      Path("data", &Recipe::data, true),
      Path("validation_data", &Recipe::validation_data, true),
      List("outputs", &Recipe::outputs, "record fields of the stages' outputs, separated by commas",
           false),
      Text("distill_rounds", &Recipe::distill_rounds, true),
      Text("distill_output", &Recipe::distill_output, true),
      Path("out", &Recipe::out, false),
      Integer("prompt_length", &Recipe::prompt_length, 1, true, kMaxPromptLength),
      Choice<PromptInit>("init", &Recipe::init,
                         {{"random", PromptInit::kRandom},
                          {"text", PromptInit::kText},
                          {"vocabulary", PromptInit::kVocabulary}},
                         true),
      Text("init_text", &Recipe::init_text, true),
      Seed("init_seed", &Recipe::init_seed),
      List("init_prompt", &Recipe::init_prompts,
           "prompt folders, one a trained stage, separated by commas", true),
      Number("learning_rate", &Recipe::learning_rate, 0, false, kInf),
      Number("beta1", &Recipe::beta1, 0, true, 1),
      Number("beta2", &Recipe::beta2, 0, true, 1),
      Number("epsilon", &Recipe::epsilon, 0, false, kInf),
      Number("weight_decay", &Recipe::weight_decay, 0, true, kInf),
      Number("warmup_ratio", &Recipe::warmup_ratio, 0, true, 1),
      Choice<LearningRateSchedule>("schedule", &Recipe::schedule,
                                   {{"linear", LearningRateSchedule::kLinear},
                                    {"constant", LearningRateSchedule::kConstant}},
                                   true),
      Integer("epochs", &Recipe::epochs, 1, true),
      Integer("max_steps", &Recipe::max_steps, 0, true),
      Integer("batch_size", &Recipe::batch_size, 1, true),
      Integer("accumulation", &Recipe::accumulation, 1, true),
      Number("clip_norm", &Recipe::clip_norm, 0, true, kInf),
      Integer("max_tokens", &Recipe::max_tokens, 1, true),
      Choice<std::optional<OverlongSample>>("overlong", &Recipe::overlong,
                                            {{"refuse", OverlongSample::kRefuse},
                                             {"cut", OverlongSample::kCut},
                                             {"skip", OverlongSample::kSkip}},
                                            true),
      Choice<OnError>("on_error", &Recipe::on_error,
                      {{"stop", OnError::kStop}, {"skip", OnError::kSkip}}, true),
      Seed("seed", &Recipe::seed),
      Choice<bool>("bf16", &Recipe::bf16, {{"false", false}, {"true", true}}, true),
      Choice<bool>("taped_constants", &Recipe::taped_constants, {{"false", false}, {"true", true}},
                   true),
      Choice<bool>("activation_checkpointing", &Recipe::activation_checkpointing,
                   {{"false", false}, {"true", true}}, false),
      Integer("validate_every", &Recipe::validate_every, 0, true),
      Integer("validation_samples", &Recipe::validation_samples, 0, true),
      Integer("checkpoint_every", &Recipe::checkpoint_every, 0, false),
      Integer("log_every", &Recipe::log_every, 1, false),
      Text("backend", &Recipe::backend, true),
      Integer("threads", &Recipe::threads, 0, false, kMaxThreads),
  };
  return *keys;
}

}  // namespace onepass
