// Named, typed access to a map of the tree, and the messages for what is wrong in it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "chain/yaml.h"
#include "core/quote.h"

namespace onepass {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string Plain(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

}  // namespace

std::string NearestWord(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  constexpr size_t kMaxWord = 64;
  if (word.size() > kMaxWord) return best;
  // A third of the letters may differ.
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

YamlMap::YamlMap(const YamlNode& node, std::string file, std::string place)
    : node_(node), file_(std::move(file)), place_(std::move(place)) {
  if (node.kind != YamlNode::Kind::kMap) {
    const std::string where = place_.empty() ? "" : place_.substr(0, place_.size() - 1) + ": ";
    Fail(InvalidArgument(YamlPlace(file_, node.line) + where + "want a map, found " +
                         Describe(node)));
  }
}

void YamlMap::Fail(const Status& status) {
  if (fault_.ok()) fault_ = status;
}

void YamlMap::Fail(int64_t line, std::string_view key, const std::string& message) {
  Fail(InvalidArgument(YamlPlace(file_, line) + place_ + std::string(key) + ": " + message));
}

const YamlNode* YamlMap::Find(const char* key) {
  known_.push_back(key);
  if (!fault_.ok()) return nullptr;
  const auto it = std::ranges::find(node_.keys, key);
  return it == node_.keys.end() ? nullptr : &node_.items[it - node_.keys.begin()];
}

const YamlNode* YamlMap::Child(const char* key, YamlNode::Kind kind) {
  const YamlNode* node = Find(key);
  if (node == nullptr || node->kind == kind) return node;
  const char* want = kind == YamlNode::Kind::kList  ? "a list"
                     : kind == YamlNode::Kind::kMap ? "a map"
                                                    : "a value";
  Fail(node->line, key, std::string("want ") + want + ", found " + Describe(*node));
  return nullptr;
}

const YamlNode* YamlMap::Scalar(const char* key) { return Child(key, YamlNode::Kind::kScalar); }

void YamlMap::Text(const char* key, std::string* out) {
  if (const YamlNode* node = Scalar(key)) *out = node->scalar;
}

void YamlMap::Integer(const char* key, int64_t low, int64_t high, int64_t* out) {
  const YamlNode* node = Scalar(key);
  if (node == nullptr) return;
  int64_t value = 0;
  const char* end = node->scalar.data() + node->scalar.size();
  const auto [stop, error] = std::from_chars(node->scalar.data(), end, value);
  if (error != std::errc() || stop != end || node->quoted || value < low || value > high) {
    const std::string range = high == INT64_MAX
                                  ? "of at least " + std::to_string(low)
                                  : std::to_string(low) + " to " + std::to_string(high);
    return Fail(node->line, key, "want a whole number " + range + ", found " + Describe(*node));
  }
  *out = value;
}

void YamlMap::Flag(const char* key, bool* out) {
  const YamlNode* node = Scalar(key);
  if (node == nullptr) return;
  if (node->quoted || (node->scalar != "true" && node->scalar != "false")) {
    return Fail(node->line, key, "want true or false, found " + Describe(*node));
  }
  *out = node->scalar == "true";
}

void YamlMap::Unsigned(const char* key, uint64_t* out) {
  const YamlNode* node = Scalar(key);
  if (node == nullptr) return;
  uint64_t value = 0;
  const char* end = node->scalar.data() + node->scalar.size();
  const auto [stop, error] = std::from_chars(node->scalar.data(), end, value);
  if (error != std::errc() || stop != end || node->quoted) {
    return Fail(node->line, key, "want a whole number of at least 0, found " + Describe(*node));
  }
  *out = value;
}

void YamlMap::Real(const char* key, double low, double high, double* out) {
  const YamlNode* node = Scalar(key);
  if (node == nullptr) return;
  double value = 0;
  const char* end = node->scalar.data() + node->scalar.size();
  const auto [stop, error] = std::from_chars(node->scalar.data(), end, value);
  if (error != std::errc() || stop != end || node->quoted || !std::isfinite(value) || value < low ||
      value > high) {
    return Fail(
        node->line, key,
        "want a number " + Plain(low) + " to " + Plain(high) + ", found " + Describe(*node));
  }
  *out = value;
}

void YamlMap::TextList(const char* key, std::optional<std::vector<std::string>>* out) {
  const YamlNode* node = Child(key, YamlNode::Kind::kList);
  if (node == nullptr) return;
  std::vector<std::string> values;
  for (const YamlNode& item : node->items) {
    if (item.kind != YamlNode::Kind::kScalar) {
      return Fail(item.line, key, "want a list of strings, found " + Describe(item) + " in it");
    }
    values.push_back(item.scalar);
  }
  *out = std::move(values);
}

void YamlMap::Require(const char* key) { required_.push_back(key); }

Status YamlMap::Finish() {
  RETURN_IF_ERROR(fault_);
  for (size_t i = 0; i < node_.keys.size(); ++i) {
    const std::string& key = node_.keys[i];
    if (std::ranges::find(known_, key) != known_.end()) continue;
    const std::string nearest = NearestWord(key, known_);
    Fail(InvalidArgument(YamlPlace(file_, node_.key_lines[i]) + "unknown key " +
                         Quote(place_ + key) +
                         (nearest.empty() ? "" : ", did you mean \"" + nearest + "\"?") +
                         (nearest.empty() ? "; known keys: " : " Known keys: ") + Joined(known_)));
    return fault_;
  }
  for (const char* key : required_) {
    if (std::ranges::find(node_.keys, key) != node_.keys.end()) continue;
    Fail(node_.line, key, "this key is needed and missing");
    break;
  }
  return fault_;
}

std::string ResolveBeside(const std::string& file, const std::string& path) {
  if (path.empty()) return path;
  return (std::filesystem::path(file).parent_path() / path).lexically_normal().string();
}

}  // namespace onepass
