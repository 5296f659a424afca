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
constexpr size_t kMaxPaperColumns = 16;

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

// One number a metric.
Result<std::vector<double>> ReadFigures(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kList) {
    return InvalidArgument("want a list of numbers, found " + Describe(node));
  }
  std::vector<double> values;
  for (const YamlNode& item : node.items) {
    const std::string& text = item.scalar;
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (item.kind != YamlNode::Kind::kScalar || item.quoted || error != std::errc() ||
        end != text.data() + text.size() || !(value >= 0 && value <= 100)) {
      return InvalidArgument("want numbers from 0 to 100, found " + Describe(item));
    }
    values.push_back(value);
  }
  return values;
}

void ReadPaper(YamlMap& map, const std::string& file, std::vector<PaperColumn>* out) {
  std::optional<std::vector<std::string>> metrics;
  map.TextList("paper_metrics", &metrics);
  const YamlNode* paper = map.Child("paper", YamlNode::Kind::kList);
  if (paper == nullptr) return;
  if (paper->items.size() > kMaxPaperColumns) {
    return map.Fail(
        paper->line, "paper",
        fmt::format("want at most {} columns, found {}", kMaxPaperColumns, paper->items.size()));
  }
  for (size_t i = 0; i < paper->items.size(); ++i) {
    YamlMap column(paper->items[i], file, fmt::format("paper[{}].", i));
    column.Require("name");
    column.Require("values");
    PaperColumn& read = out->emplace_back();
    column.Text("name", &read.name);
    std::optional<std::vector<std::string>> own;
    column.TextList("metrics", &own);
    read.metrics = own.value_or(metrics.value_or(std::vector<std::string>()));
    if (const YamlNode* values = column.Child("values", YamlNode::Kind::kMap)) {
      for (size_t j = 0; j < values->keys.size(); ++j) {
        const Result<std::vector<double>> figures = ReadFigures(values->items[j]);
        if (figures.ok()) {
          read.values[values->keys[j]] = *figures;
        } else {
          column.Fail(values->items[j].line, "values." + values->keys[j],
                      figures.status().message());
        }
      }
    }
    if (const Status status = column.Finish(); !status.ok()) return map.Fail(status);
  }
}

}  // namespace

std::string_view NameOf(Metric metric) {
  switch (metric) {
    case Metric::kSquad:
      return "squad";
    case Metric::kHotpotQa:
      return "hotpotqa";
    case Metric::kAccuracy:
      break;
  }
  return "accuracy";
}

Result<Metric> ParseMetric(std::string_view name) {
  for (const Metric metric : {Metric::kSquad, Metric::kHotpotQa, Metric::kAccuracy}) {
    if (name == NameOf(metric)) return metric;
  }
  return InvalidArgument("want squad, hotpotqa or accuracy, found " + Quote(name));
}

AnswerRule RuleOf(Metric metric) {
  return metric == Metric::kHotpotQa ? AnswerRule::kHotpotQa : AnswerRule::kSquad;
}

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
  if (const YamlNode* metric = map.Scalar("metric")) {
    const Result<Metric> parsed = ParseMetric(metric->scalar);
    if (parsed.ok()) {
      suite.metric = *parsed;
    } else {
      map.Fail(metric->line, "metric", parsed.status().message());
    }
  }
  map.Text("choices", &suite.choices);
  map.Integer("batch", 1, kMaxSuiteBatch, &suite.batch);
  map.Text("reference", &suite.reference);
  map.Integer("figure", 1, 99, &suite.figure);
  ReadPaper(map, file, &suite.paper);
  const YamlNode* methods = map.Child("methods", YamlNode::Kind::kList);
  RETURN_IF_ERROR(map.Finish());
  if (methods->items.size() > kMaxSuiteMethods) {
    return InvalidArgument(fmt::format("{}:{}: methods: want 1 to {}, found {}", file,
                                       methods->line, kMaxSuiteMethods, methods->items.size()));
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
