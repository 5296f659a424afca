#include "eval/suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "chain/yaml.h"
#include "core/file.h"
#include "core/quote.h"

namespace onepass {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 20;
constexpr size_t kMaxMethods = 256;
constexpr size_t kMaxSeeds = 64;

Result<AnswerRule> ParseRule(std::string_view name) {
  if (name == "squad") return AnswerRule::kSquad;
  if (name == "hotpotqa") return AnswerRule::kHotpotQa;
  return InvalidArgument("want squad or hotpotqa, found " + Quote(name));
}

// A method's name becomes part of a file name.
bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

Status ReadMethod(const YamlNode& node, const std::string& file, size_t index, MethodSpec* out) {
  YamlMap map(node, file, fmt::format("methods[{}].", index));
  map.Require("method");
  map.Require("chain");
  map.Text("method", &out->method);
  map.Text("chain", &out->chain);
  out->chain = ResolveBeside(file, out->chain);
  if (const YamlNode* handoff = map.Scalar("handoff")) {
    const Result<Handoff> parsed = ParseHandoff(handoff->scalar);
    if (parsed.ok()) {
      out->handoff = *parsed;
    } else {
      map.Fail(handoff->line, "handoff", parsed.status().message());
    }
  }
  if (const YamlNode* kv = map.Scalar("kv")) {
    const Result<DType> parsed = ParseKvType(kv->scalar);
    if (parsed.ok()) {
      out->kv_dtype = *parsed;
    } else {
      map.Fail(kv->line, "kv", parsed.status().message());
    }
  }
  map.Text("answer", &out->answer);
  map.Text("after", &out->after);
  if (const YamlNode* prompts = map.Child("prompts", YamlNode::Kind::kMap)) {
    for (size_t i = 0; i < prompts->keys.size(); ++i) {
      const YamlNode& folder = prompts->items[i];
      if (folder.kind != YamlNode::Kind::kScalar || folder.scalar.empty()) {
        map.Fail(folder.line, "prompts." + prompts->keys[i],
                 "want a folder, found " + Describe(folder));
        continue;
      }
      out->prompts[prompts->keys[i]] = folder.scalar;
    }
  }
  return map.Finish();
}

void ReadSeeds(YamlMap& map, std::vector<uint64_t>* out) {
  const YamlNode* node = map.Child("seeds", YamlNode::Kind::kList);
  if (node == nullptr) return;
  out->clear();
  for (const YamlNode& item : node->items) {
    const Result<std::vector<uint64_t>> seed = ParseSeeds(item.scalar);
    if (!seed.ok() || seed->size() != 1) {
      return map.Fail(item.line, "seeds", "want whole numbers, found " + Describe(item));
    }
    out->push_back(seed->front());
  }
}

}  // namespace

Result<std::vector<uint64_t>> ParseSeeds(std::string_view text) {
  std::vector<uint64_t> seeds;
  const std::string_view all = text;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view piece = text.substr(0, comma);
    uint64_t seed = 0;
    const auto [end, error] = std::from_chars(piece.data(), piece.data() + piece.size(), seed);
    if (piece.empty() || error != std::errc() || end != piece.data() + piece.size()) {
      return InvalidArgument("seeds: want numbers such as 1,2,3, found " + Quote(all));
    }
    seeds.push_back(seed);
    if (comma == std::string_view::npos) return seeds;
    text.remove_prefix(comma + 1);
  }
}

Status SuiteSpec::Validate() const {
  const std::string where = file.empty() ? "suite" : file;
  if (n < 0) return InvalidArgument(fmt::format("{}: n: want >= 0, found {}", where, n));
  if (seeds.empty() || seeds.size() > kMaxSeeds) {
    return InvalidArgument(
        fmt::format("{}: seeds: want 1 to {}, found {}", where, kMaxSeeds, seeds.size()));
  }
  for (size_t i = 0; i < seeds.size(); ++i) {
    if (std::find(seeds.begin(), seeds.begin() + static_cast<std::ptrdiff_t>(i), seeds[i]) !=
        seeds.begin() + static_cast<std::ptrdiff_t>(i)) {
      return InvalidArgument(fmt::format("{}: seeds: {} stands twice", where, seeds[i]));
    }
  }
  if (data.empty()) return InvalidArgument(where + ": data: want a file, found none");
  if (methods.empty() || methods.size() > kMaxMethods) {
    return InvalidArgument(
        fmt::format("{}: methods: want 1 to {}, found {}", where, kMaxMethods, methods.size()));
  }
  for (size_t i = 0; i < methods.size(); ++i) {
    const MethodSpec& method = methods[i];
    if (!IsPlainName(method.method)) {
      return InvalidArgument(
          fmt::format("{}: methods[{}].method: want letters, digits, - and _, found {}", where, i,
                      Quote(method.method)));
    }
    for (size_t j = 0; j < i; ++j) {
      if (methods[j].method == method.method) {
        return InvalidArgument(
            fmt::format("{}: methods[{}].method: \"{}\" stands twice", where, i, method.method));
      }
    }
  }
  return Status::Ok();
}

Result<SuiteSpec> ParseSuite(std::string_view yaml, const std::string& file) {
  ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(yaml, file));
  SuiteSpec suite;
  suite.file = file;
  YamlMap map(root, file, "");
  map.Require("data");
  map.Require("methods");
  map.Text("task", &suite.task);
  map.Text("data", &suite.data);
  suite.data = ResolveBeside(file, suite.data);
  map.Text("prompts", &suite.prompts);
  suite.prompts = ResolveBeside(file, suite.prompts);
  map.Text("gold", &suite.gold);
  map.Text("aliases", &suite.aliases);
  map.Integer("n", 0, std::numeric_limits<int64_t>::max(), &suite.n);
  ReadSeeds(map, &suite.seeds);
  if (const YamlNode* rule = map.Scalar("metric")) {
    const Result<AnswerRule> parsed = ParseRule(rule->scalar);
    if (parsed.ok()) {
      suite.rule = *parsed;
    } else {
      map.Fail(rule->line, "metric", parsed.status().message());
    }
  }
  const YamlNode* methods = map.Child("methods", YamlNode::Kind::kList);
  RETURN_IF_ERROR(map.Finish());
  if (methods->items.size() > kMaxMethods) {
    return InvalidArgument(fmt::format("{}:{}: methods: want 1 to {}, found {}", file,
                                       methods->line, kMaxMethods, methods->items.size()));
  }
  for (size_t i = 0; i < methods->items.size(); ++i) {
    MethodSpec method;
    RETURN_IF_ERROR(ReadMethod(methods->items[i], file, i, &method));
    suite.methods.push_back(std::move(method));
  }
  if (suite.task.empty()) suite.task = std::filesystem::path(file).stem().string();
  RETURN_IF_ERROR(suite.Validate());
  return suite;
}

Result<SuiteSpec> LoadSuite(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kMaxFileBytes));
  return ParseSuite(yaml, path);
}

std::string PromptFolder(const SuiteSpec& suite, const std::string& prompt, uint64_t seed) {
  std::string folder = (std::filesystem::path(suite.prompts) / prompt).string();
  constexpr std::string_view kPlace = "{seed}";
  const std::string value = std::to_string(seed);
  for (size_t at = folder.find(kPlace); at != std::string::npos;
       at = folder.find(kPlace, at + value.size())) {
    folder.replace(at, kPlace.size(), value);
  }
  return folder;
}

std::string ExtractAnswer(std::string_view output, std::string_view after) {
  if (!after.empty()) {
    const size_t at = output.rfind(after);
    if (at != std::string_view::npos) output.remove_prefix(at + after.size());
  }
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = output.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return "";
  return std::string(output.substr(begin, output.find_last_not_of(kSpace) - begin + 1));
}

}  // namespace onepass
