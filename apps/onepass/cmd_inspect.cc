// onepass inspect: what a base model or a soft prompt on disk is.
#include <fmt/format.h>
#include <sys/stat.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "commands.h"
#include "core/hash.h"
#include "core/quote.h"
#include "engine/base_tokenizer.h"
#include "kv/layout.h"
#include "model/checkpoint.h"
#include "prompt/soft_prompt.h"

namespace onepass {
namespace {

using Json = nlohmann::ordered_json;
using Rows = std::vector<std::pair<std::string, std::string>>;

bool Exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

std::string Megabytes(int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

// 1,234,567
std::string Grouped(int64_t value) {
  std::string text = std::to_string(value);
  for (size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

void Print(const Rows& rows) {
  for (const auto& [name, value] : rows) fmt::print("{:<16}{}\n", name, value);
}

std::string DescribeRope(const ModelConfig& config) {
  std::string text = fmt::format("theta {}", config.rope_theta);
  if (config.rope_scaling == RopeScaling::kLinear) {
    text += fmt::format(", linear scaling by {}", config.rope_factor);
  } else if (config.rope_scaling == RopeScaling::kLlama3) {
    text += fmt::format(", llama3 scaling by {} from {} tokens", config.rope_factor,
                        config.rope_original_positions);
  }
  if (!config.rope_factors.empty()) text += ", a factor for each frequency";
  return text;
}

std::string DescribeBiases(const ModelConfig& config) {
  std::string text;
  const auto add = [&](bool present, const char* name) {
    if (present) text += (text.empty() ? "" : ", ") + std::string(name);
  };
  add(config.qkv_bias, "q k v");
  add(config.output_bias, "attention output");
  add(config.mlp_bias, "feed-forward");
  return text.empty() ? "none" : text;
}

std::string DescribeTokens(const ModelConfig& config) {
  return fmt::format(
      "begin {}, end {}", config.bos_token ? std::to_string(*config.bos_token) : "none",
      config.eos_tokens.empty() ? "none" : fmt::format("{}", fmt::join(config.eos_tokens, " ")));
}

Status InspectBase(const std::string& dir, bool as_json) {
  ASSIGN_OR_RETURN(const auto base, Checkpoint::Open(dir));
  const ModelConfig& c = base->config();
  const int64_t weight_bytes = base->stored_bytes();
  const bool is_uniform = base->stored_type() == NameOf(base->dtype()) &&
                          weight_bytes == c.ParameterCount() * SizeOf(base->dtype());
  // Pages of one token: exactly what a token costs.
  Json kv_bytes;
  std::string kv_text;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    const std::string name(KvTypeName(dtype));
    const int64_t bytes = c.Layout(1, dtype).TokenBytes();
    kv_bytes[name] = bytes;
    kv_text += kv_text.empty() ? fmt::format("{} bytes in {}", Grouped(bytes), name)
                               : fmt::format(", {} in {}", Grouped(bytes), name);
  }
  TokenizerInfo tokenizer;
  // A file without a tokenizer is a base all the same.
  const bool has_tokenizer = base->gguf() != nullptr
                                 ? base->gguf()->metadata().contains("tokenizer.ggml.model")
                                 : !FolderTokenizerPath(dir).empty();
  if (has_tokenizer) {
    ASSIGN_OR_RETURN(const auto loaded, TokenizerOf(*base));
    tokenizer = loaded->Info();
  }
  if (as_json) {
    Json out = {{"kind", "base"},
                {"path", dir},
                {"architecture", c.architecture},
                {"parameters", c.ParameterCount()},
                {"dtype", std::string(base->stored_type())},
                {"weight_bytes", weight_bytes},
                {"config", Json::parse(ConfigToJson(c, base->dtype()))},
                {"kv_bytes_per_token", kv_bytes},
                {"tokenizer", nullptr},
                {"fingerprint", base->Fingerprint()}};
    if (has_tokenizer) {
      out["tokenizer"] = {{"kind", tokenizer.kind},
                          {"vocab_size", tokenizer.vocab_size},
                          {"merges", tokenizer.merges},
                          {"added_tokens", tokenizer.added_tokens}};
    }
    fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
    return Status::Ok();
  }
  Print(
      {{"base", dir},
       {"architecture", c.architecture},
       {"parameters",
        fmt::format("{}, {} {} {}", Grouped(c.ParameterCount()), Megabytes(weight_bytes),
                    is_uniform ? "in" : "mostly in", base->stored_type())},
       {"layers", std::to_string(c.layers)},
       {"width", fmt::format("{}, feed-forward {}", c.width, c.feed_forward)},
       {"heads", fmt::format("{} of {}, {} for keys and values", c.heads, c.head_dim, c.kv_heads)},
       {"vocabulary",
        fmt::format("{}, {} head", Grouped(c.vocab_size), c.tied_head ? "tied" : "separate")},
       {"context", fmt::format("{} tokens", Grouped(c.max_positions))},
       {"positions", DescribeRope(c)},
       {"norm epsilon", fmt::format("{}", c.norm_eps)},
       {"biases", DescribeBiases(c)},
       {"tokens", DescribeTokens(c)},
       {"tokenizer", has_tokenizer
                         ? fmt::format("{}, {} ids, {} merges, {} added tokens", tokenizer.kind,
                                       Grouped(tokenizer.vocab_size), Grouped(tokenizer.merges),
                                       Grouped(tokenizer.added_tokens))
                         : "none"},
       {"KV a token", kv_text},
       {"fingerprint", base->Fingerprint()}});
  return Status::Ok();
}

// Tokens whose rows of embedding and head the prompt brings along.
std::vector<std::string> NamesOfAddedTokens(const PromptFacts& facts) {
  std::vector<std::string> tokens;
  for (const AddedTokenRow& row : facts.added_tokens) tokens.push_back(row.token);
  return tokens;
}

Status InspectPrompt(const std::string& dir, bool as_json) {
  ASSIGN_OR_RETURN(const SoftPrompt prompt, LoadSoftPrompt(dir));
  const std::string hash = HexDigits(prompt.content_hash);
  if (as_json) {
    Json out = {{"kind", "prompt"},
                {"path", dir},
                {"length", prompt.length()},
                {"width", prompt.width()},
                {"base_model_name", prompt.base_model_name},
                {"content_hash", hash},
                {"facts", nullptr}};
    if (prompt.facts.has_value()) {
      out["facts"] = {
          {"placement", std::string(NameOf(prompt.facts->placement))},
          {"stage", prompt.facts->stage},
          {"trained_as", prompt.facts->trained_as},
          {"base_fingerprint", prompt.facts->base_fingerprint},
          {"base_type", prompt.facts->base_type},
          {"added_tokens", NamesOfAddedTokens(*prompt.facts)},
          {"recipe", prompt.facts->recipe_json.empty() ? Json(nullptr)
                                                       : Json::parse(prompt.facts->recipe_json)}};
    }
    fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
    return Status::Ok();
  }
  Rows rows = {{"prompt", dir},
               {"length", fmt::format("{} vectors", prompt.length())},
               {"width", std::to_string(prompt.width())},
               {"base", prompt.base_model_name.empty() ? "not named" : prompt.base_model_name},
               {"content", hash}};
  if (prompt.facts.has_value()) {
    rows.push_back({"placement", std::string(NameOf(prompt.facts->placement))});
    rows.push_back({"stage", prompt.facts->stage});
    rows.push_back({"trained as", prompt.facts->trained_as});
    const std::string& type = prompt.facts->base_type;
    rows.push_back({"trained on", prompt.facts->base_fingerprint +
                                      (type.empty() ? "" : ", weights of type " + type)});
    if (const auto tokens = NamesOfAddedTokens(*prompt.facts); !tokens.empty()) {
      std::string text;
      for (const std::string& token : tokens) text += (text.empty() ? "" : " ") + Quote(token);
      rows.push_back({"added tokens", text + ", which no chain runs yet"});
    }
    rows.push_back(
        {"recipe", prompt.facts->recipe_json.empty() ? "none" : prompt.facts->recipe_json});
  } else {
    rows.push_back({"facts", "none (no onepass.json)"});
  }
  Print(rows);
  return Status::Ok();
}

}  // namespace

void AddInspectCommand(CLI::App& app, int* exit_code) {
  CLI::App* inspect = app.add_subcommand("inspect", "show what a base or a prompt on disk is");
  struct Flags {
    std::string dir;
    bool json = false;
  };
  auto flags = std::make_shared<Flags>();
  inspect->add_option("MODEL", flags->dir, "a base (folder or GGUF file) or a prompt's folder")
      ->required();
  inspect->add_flag("--json", flags->json, "print JSON");
  inspect->callback([flags, exit_code] {
    const bool is_prompt = Exists(flags->dir + "/adapter_config.json");
    *exit_code = ReportStatus(is_prompt ? InspectPrompt(flags->dir, flags->json)
                                        : InspectBase(flags->dir, flags->json));
  });
}

}  // namespace onepass
