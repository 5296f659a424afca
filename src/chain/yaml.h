// Strict YAML for hostile files: one document of maps, lists and scalars. No aliases, anchors,
// duplicate keys or second documents; size, nesting and node count are limited.
// It is not a general YAML library: it gives a tree with line numbers and typed, named access.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace onepass {

// Plain data. Depth is limited by the parser.
struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  int64_t line = 1;
  std::string scalar;
  bool quoted = false;            // a quoted scalar is text, never a number or a boolean
  std::vector<std::string> keys;  // of a map, beside `items`
  std::vector<int64_t> key_lines;
  std::vector<YamlNode> items;  // a list's elements or a map's values
};

// "FILE:LINE: ", as messages begin.
std::string YamlPlace(const std::string& file, int64_t line);

// `file` stands for the path in messages.
Result<YamlNode> ParseYaml(std::string_view text, const std::string& file);

// Reads a map's keys by type. The first fault is kept and every later read does nothing, so a
// caller reads all keys and asks Finish() once. `node` must outlive it.
class YamlMap {
 public:
  // `place` stands in front of keys in messages: "", or "stages[1].".
  YamlMap(const YamlNode& node, std::string file, std::string place);

  // Each leaves *out alone where the key is absent, and remembers that the key is known.
  void Text(const char* key, std::string* out);
  void Integer(const char* key, int64_t low, int64_t high, int64_t* out);
  void Unsigned(const char* key, uint64_t* out);
  void Flag(const char* key, bool* out);  // true or false
  void Real(const char* key, double low, double high, double* out);
  // A list of strings; `out` is an optional so that absent and empty differ.
  void TextList(const char* key, std::optional<std::vector<std::string>>* out);
  // The child itself; null where it is absent. Its kind must be `kind`.
  const YamlNode* Child(const char* key, YamlNode::Kind kind);
  // For a scalar with its own syntax: its text is parsed by the caller, which reports with Fail.
  const YamlNode* Scalar(const char* key);
  // Finish reports the key where it is absent.
  void Require(const char* key);

  // Records "FILE:LINE: PLACE.KEY: message" unless there is a fault already.
  void Fail(int64_t line, std::string_view key, const std::string& message);
  void Fail(const Status& status);

  // The first fault, or else an unknown key with the known ones and the nearest of them, or else
  // a required key that is absent.
  Status Finish();

 private:
  const YamlNode* Find(const char* key);
  const YamlNode& node_;
  std::string file_;
  std::string place_;
  std::vector<std::string> known_;
  std::vector<const char*> required_;
  Status fault_;
};

// `path` as a file that names it means it: relative to that file's folder. Empty stays empty.
std::string ResolveBeside(const std::string& file, const std::string& path);

// "list", "text \"abc\"", ...: what was found, for messages.
std::string Describe(const YamlNode& node);

// The word of `known` that `word` was most likely meant to be; empty if none is near.
std::string NearestWord(std::string_view word, const std::vector<std::string>& known);

}  // namespace onepass
