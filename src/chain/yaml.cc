#include "chain/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "core/quote.h"

namespace onepass {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxDepth = 16;
constexpr int64_t kMaxNodes = 20000;
constexpr size_t kMaxKeys = 1000;  // of one map

std::string At(const std::string& file, int64_t line) {
  return file + ":" + std::to_string(line) + ": ";
}

// A fault found while yaml-cpp calls back. It never leaves this file: an exception is the only way
// to stop that parser.
struct Stop {
  int64_t line;
  std::string message;
};

// Builds the tree from the parser's events.
class TreeBuilder : public YAML::EventHandler {
 public:
  YamlNode& root() { return root_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Stop{mark.line + 1, "aliases (*name) are not allowed: write the value out"};
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(mark, anchor, YamlNode::Kind::kNull, "", "");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool is_null = tag != "!" && (value.empty() || value == "~" || value == "null");
    Add(mark, anchor, is_null ? YamlNode::Kind::kNull : YamlNode::Kind::kScalar, tag, value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Push(Add(mark, anchor, YamlNode::Kind::kList, tag, ""), mark);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Push(Add(mark, anchor, YamlNode::Kind::kMap, tag, ""), mark);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Open {
    YamlNode* node;
    bool key_read;  // a map's key was read and its value is awaited
  };

  void Push(YamlNode* node, const YAML::Mark& mark) {
    if (open_.size() >= kMaxDepth) {
      throw Stop{mark.line + 1, "nested deeper than " + std::to_string(kMaxDepth)};
    }
    open_.push_back({node, false});
  }

  // Pointers to nodes on the open path stay valid: only the innermost one's items grow.
  YamlNode* Add(const YAML::Mark& mark, YAML::anchor_t anchor, YamlNode::Kind kind,
                const std::string& tag, const std::string& value) {
    const int64_t line = mark.line + 1;
    if (anchor != 0) throw Stop{line, "anchors (&name) are not allowed: write the value out"};
    if (!tag.empty() && tag != "?" && tag != "!")
      throw Stop{line, "tags are not allowed: " + Quote(tag)};
    if (++node_count_ > kMaxNodes) {
      throw Stop{line, "more than " + std::to_string(kMaxNodes) + " values"};
    }
    YamlNode node;
    node.kind = kind;
    node.line = line;
    node.scalar = value;
    node.quoted = tag == "!";
    if (open_.empty()) {
      root_ = std::move(node);
      return &root_;
    }
    Open& parent = open_.back();
    if (parent.node->kind == YamlNode::Kind::kMap && !parent.key_read) {
      if (kind != YamlNode::Kind::kScalar) {
        throw Stop{line, "want a word as a key, found " + Describe(node)};
      }
      if (std::ranges::find(parent.node->keys, value) != parent.node->keys.end()) {
        throw Stop{line, "key " + Quote(value) + " stands twice"};
      }
      if (parent.node->keys.size() >= kMaxKeys) {
        throw Stop{line, "more than " + std::to_string(kMaxKeys) + " keys"};
      }
      parent.node->keys.push_back(value);
      parent.node->key_lines.push_back(line);
      parent.key_read = true;
      return nullptr;
    }
    parent.key_read = false;
    parent.node->items.push_back(std::move(node));
    return &parent.node->items.back();
  }

  YamlNode root_;
  std::vector<Open> open_;
  int64_t node_count_ = 0;
};

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

std::string Describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return Quote(node.scalar);
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a map";
  }
  return "";
}

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

Result<YamlNode> ParseYaml(std::string_view text, const std::string& file) {
  if (text.size() > kMaxBytes) {
    return InvalidArgument(file + ": want at most " + std::to_string(kMaxBytes) + " bytes, found " +
                           std::to_string(text.size()));
  }
  if (!IsUtf8(text)) return InvalidArgument(file + ": want UTF-8");
  // yaml-cpp takes a NUL for the end of its input; nothing that a spec needs is a control
  // character.
  int64_t line = 1;
  for (const char c : text) {
    if (c == '\n') ++line;
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t') {
      return InvalidArgument(At(file, line) + "control character " +
                             std::to_string(static_cast<int>(c)));
    }
  }
  TreeBuilder builder;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder))
      return InvalidArgument(file + ": want a map, found nothing");
    YamlNode root = std::move(builder.root());
    TreeBuilder second;
    if (parser.HandleNextDocument(second)) {
      return InvalidArgument(file + ": want one YAML document, found more");
    }
    return root;
  } catch (const Stop& stop) {
    return InvalidArgument(At(file, stop.line) + stop.message);
  } catch (const YAML::Exception& e) {
    return InvalidArgument(At(file, e.mark.line + 1) + e.msg);
  } catch (const std::exception& e) {
    return InvalidArgument(file + ": not YAML: " + e.what());
  }
}

YamlMap::YamlMap(const YamlNode& node, std::string file, std::string place)
    : node_(node), file_(std::move(file)), place_(std::move(place)) {
  if (node.kind != YamlNode::Kind::kMap) {
    const std::string where = place_.empty() ? "" : place_.substr(0, place_.size() - 1) + ": ";
    Fail(InvalidArgument(At(file_, node.line) + where + "want a map, found " + Describe(node)));
  }
}

void YamlMap::Fail(const Status& status) {
  if (fault_.ok()) fault_ = status;
}

void YamlMap::Fail(int64_t line, std::string_view key, const std::string& message) {
  Fail(InvalidArgument(At(file_, line) + place_ + std::string(key) + ": " + message));
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

void YamlMap::Require(const char* key) {
  if (!fault_.ok() || std::ranges::find(node_.keys, key) != node_.keys.end()) return;
  Fail(node_.line, key, "this key is needed and missing");
}

Status YamlMap::Finish() {
  RETURN_IF_ERROR(fault_);
  for (size_t i = 0; i < node_.keys.size(); ++i) {
    const std::string& key = node_.keys[i];
    if (std::ranges::find(known_, key) != known_.end()) continue;
    const std::string nearest = NearestWord(key, known_);
    Fail(InvalidArgument(At(file_, node_.key_lines[i]) + "unknown key " + Quote(place_ + key) +
                         (nearest.empty() ? "" : ", did you mean \"" + nearest + "\"?") +
                         (nearest.empty() ? "; known keys: " : " Known keys: ") + Joined(known_)));
    break;
  }
  return fault_;
}

std::string ResolveBeside(const std::string& file, const std::string& path) {
  if (path.empty()) return path;
  return (std::filesystem::path(file).parent_path() / path).lexically_normal().string();
}

}  // namespace onepass
