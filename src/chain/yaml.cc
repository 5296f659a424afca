#include "chain/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

#include "core/quote.h"

namespace onepass {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxDepth = 16;
constexpr int64_t kMaxNodes = 20000;
constexpr size_t kMaxKeys = 1000;  // of one map

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

std::string YamlPlace(const std::string& file, int64_t line) {
  return file + ":" + std::to_string(line) + ": ";
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
      return InvalidArgument(YamlPlace(file, line) + "control character " +
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
    return InvalidArgument(YamlPlace(file, stop.line) + stop.message);
  } catch (const YAML::Exception& e) {
    return InvalidArgument(YamlPlace(file, e.mark.line + 1) + e.msg);
  } catch (const std::exception& e) {
    return InvalidArgument(file + ": not YAML: " + e.what());
  }
}

}  // namespace onepass
