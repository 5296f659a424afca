// A place in a parsed JSON document that knows its own path, so that every error can say where it
// is: `tokenizer.json: "model.vocab": want an object, found 3 (path)`.
// Borrows the document and the name; copies are cheap. Immutable.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/status.h"

namespace onepass {

class JsonNode {
 public:
  // value may be null: a place where nothing stands.
  JsonNode(const nlohmann::json* value, std::string place, const std::string* name)
      : value_(value), place_(std::move(place)), name_(name) {}

  // Whether something stands here, other than null.
  bool present() const { return value_ != nullptr && !value_->is_null(); }
  bool is_object() const { return value_ != nullptr && value_->is_object(); }
  bool is_array() const { return value_ != nullptr && value_->is_array(); }
  bool is_string() const { return value_ != nullptr && value_->is_string(); }
  const nlohmann::json& json() const { return *value_; }

  // A member, absent if there is none or this is no object.
  JsonNode Member(std::string_view key) const;
  // REQUIRES: is_array(), index < size().
  JsonNode Element(size_t index) const;
  // The place of an element that this document does not keep.
  JsonNode Item(size_t index) const {
    return {nullptr, place_ + "[" + std::to_string(index) + "]", name_};
  }
  size_t size() const { return value_ == nullptr ? 0 : value_->size(); }

  Status ExpectObject() const;
  Status ExpectArray() const;
  Result<std::string> String() const;
  Result<std::string> StringOr(std::string fallback) const;
  Result<bool> BoolOr(bool fallback) const;
  Result<int64_t> Integer(int64_t low, int64_t high) const;

  // The fault of what stands here: "want `wanted`, found" and the value.
  Status Want(std::string_view wanted) const;
  // The same with words for what was found.
  Status WantNot(std::string_view wanted, std::string_view found) const;
  Status UnsupportedHere(std::string_view wanted) const;

 private:
  std::string Message(std::string_view wanted, std::string_view found) const;

  const nlohmann::json* value_;
  std::string place_;
  const std::string* name_;
};

}  // namespace onepass
