#include "tokenizer/json_node.h"

#include <utility>

#include "core/quote.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

constexpr size_t kMaxShown = 60;
constexpr size_t kMaxPlace = 200;

std::string Shown(const nlohmann::json* value) {
  if (value == nullptr) return "nothing";
  if (value->is_object()) return "an object";
  if (value->is_array()) return "an array of " + std::to_string(value->size());
  std::string text = value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() <= kMaxShown) return text;
  return ReplaceInvalidUtf8(std::string_view(text).substr(0, kMaxShown)) + "...";
}

}  // namespace

JsonNode JsonNode::Member(std::string_view key) const {
  std::string place = place_.empty() ? std::string(key) : place_ + "." + std::string(key);
  if (!is_object()) return {nullptr, std::move(place), name_};
  const auto found = value_->find(key);
  return {found == value_->end() ? nullptr : &*found, std::move(place), name_};
}

JsonNode JsonNode::Element(size_t index) const {
  return {&(*value_)[index], place_ + "[" + std::to_string(index) + "]", name_};
}

std::string JsonNode::Message(std::string_view wanted, std::string_view found) const {
  return "tokenizer.json: " + Quote(place_, kMaxPlace) + ": want " + std::string(wanted) +
         ", found " + std::string(found) + " (" + *name_ + ")";
}

Status JsonNode::Want(std::string_view wanted) const {
  return InvalidArgument(Message(wanted, Shown(value_)));
}

Status JsonNode::WantNot(std::string_view wanted, std::string_view found) const {
  return InvalidArgument(Message(wanted, found));
}

Status JsonNode::UnsupportedHere(std::string_view wanted) const {
  return Unsupported(Message(wanted, Shown(value_)));
}

Status JsonNode::ExpectObject() const { return is_object() ? Status::Ok() : Want("an object"); }

Status JsonNode::ExpectArray() const { return is_array() ? Status::Ok() : Want("an array"); }

Result<std::string> JsonNode::String() const {
  if (!is_string()) return Want("a string");
  return value_->get<std::string>();
}

Result<std::string> JsonNode::StringOr(std::string fallback) const {
  if (!present()) return fallback;
  return String();
}

Result<bool> JsonNode::BoolOr(bool fallback) const {
  if (!present()) return fallback;
  if (!value_->is_boolean()) return Want("true or false");
  return value_->get<bool>();
}

Result<int64_t> JsonNode::Integer(int64_t low, int64_t high) const {
  if (value_ != nullptr && value_->is_number_integer()) {
    const bool huge = value_->is_number_unsigned() && value_->get<uint64_t>() > INT64_MAX;
    if (!huge) {
      const int64_t number = value_->get<int64_t>();
      if (number >= low && number <= high) return number;
    }
  }
  return Want("an integer from " + std::to_string(low) + " to " + std::to_string(high));
}

}  // namespace onepass
