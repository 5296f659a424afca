#include "format/strict_json.h"

#include <vector>

#include "core/json_bytes.h"
#include "core/quote.h"

namespace onepass {
namespace {

using Json = nlohmann::json;

// Builds the value while checking what nlohmann's own builder lets pass. Returning false stops the
// parser; no exception leaves it.
class StrictBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit StrictBuilder(const JsonLimits& limits) : limits_(limits) {}

  Json& root() { return root_; }
  const std::string& fault() const { return fault_; }

  bool null() override { return Add(Json(nullptr)) != nullptr; }
  bool boolean(bool value) override { return Add(Json(value)) != nullptr; }
  bool number_integer(number_integer_t value) override { return Add(Json(value)) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return Add(Json(value)) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override {
    return Add(Json(value)) != nullptr;
  }
  bool string(string_t& value) override { return Add(Json(std::move(value))) != nullptr; }
  bool binary(binary_t&) override { return Fail("binary value"); }

  bool start_object(std::size_t) override { return Enter(Json::object()); }
  bool start_array(std::size_t) override { return Enter(Json::array()); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }

  bool key(string_t& value) override {
    if (open_.back()->contains(value)) return Fail("key " + Quote(value) + " twice in one object");
    key_ = std::move(value);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: what - why"
    std::string_view what = error.what();
    if (const size_t bracket = what.find("] "); bracket != std::string_view::npos) {
      what.remove_prefix(bracket + 2);
    }
    if (const size_t colon = what.find(": ");
        what.starts_with("parse error at") && colon != std::string_view::npos) {
      what.remove_prefix(colon + 2);
    }
    std::string text = Quote(what, 160);
    return Fail("byte " + std::to_string(position) + ": " + text.substr(1, text.size() - 2));
  }

 private:
  bool Fail(std::string fault) {
    fault_ = std::move(fault);
    return false;
  }

  // Puts the value into the open list or object; null and a fault if there are too many.
  Json* Add(Json value) {
    if (++value_count_ > limits_.max_values) {
      Fail("want at most " + std::to_string(limits_.max_values) + " values, found more");
      return nullptr;
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }

  bool Enter(Json value) {
    if (static_cast<int>(open_.size()) >= limits_.max_depth) {
      return Fail("want at most " + std::to_string(limits_.max_depth) +
                  " nested lists and objects, found more");
    }
    Json* place = Add(std::move(value));
    if (place == nullptr) return false;
    open_.push_back(place);
    return true;
  }

  bool Leave() {
    open_.pop_back();
    return true;
  }

  JsonLimits limits_;
  Json root_;
  std::vector<Json*> open_;
  std::string key_;
  std::string fault_;
  int64_t value_count_ = 0;
};

}  // namespace

Result<Json> ParseStrictJson(std::string_view text, const std::string& name,
                             const JsonLimits& limits) {
  if (const Status bytes = CheckJsonBytes(text); !bytes.ok()) {
    return InvalidArgument("json: " + bytes.message() + " (" + name + ")");
  }
  StrictBuilder builder(limits);
  if (!Json::sax_parse(text, &builder)) {
    return InvalidArgument("json: " + builder.fault() + " (" + name + ")");
  }
  return std::move(builder.root());
}

std::string_view SpelledValue(std::string_view object, std::string_view key) {
  int depth = 0;
  bool is_key = true;          // a string that begins here is one
  size_t begin = object.npos;  // of the value that is wanted
  for (size_t i = 0; i < object.size(); ++i) {
    switch (object[i]) {
      case '"': {
        const size_t quote = i++;
        while (object[i] != '"') i += object[i] == '\\' ? 2 : 1;
        if (depth != 1 || !is_key) break;
        is_key = false;
        if (Json::parse(object.substr(quote, i + 1 - quote)) != key) break;
        begin = object.find_first_not_of(" \t\r\n", object.find(':', i) + 1);
        i = begin - 1;
        break;
      }
      case '{':
      case '[':
        ++depth;
        break;
      case ',':
      case '}':
      case ']':
        if (depth == 1 && begin != object.npos) {
          const size_t end = object.find_last_not_of(" \t\r\n", i - 1) + 1;
          return object.substr(begin, end - begin);
        }
        if (object[i] != ',') --depth;
        if (depth == 1) is_key = object[i] == ',';
        break;
    }
  }
  return {};
}

std::string DescribeJson(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  if (value.is_string()) return Quote(value.get_ref<const std::string&>());
  return value.dump();
}

}  // namespace onepass
