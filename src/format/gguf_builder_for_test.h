// Writes GGUF bytes for tests, right ones and wrong ones: every field is put as it is given.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace onepass {

// Little-endian bytes, one after the other.
class GgufBytes {
 public:
  template <class T>
  GgufBytes& Put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  GgufBytes& Raw(std::string_view text) {
    text_.append(text);
    return *this;
  }
  GgufBytes& String(std::string_view text) { return Put<uint64_t>(text.size()).Raw(text); }
  GgufBytes& Kind(GgufKind kind) { return Put(static_cast<uint32_t>(kind)); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

class GgufBuilder {
 public:
  uint32_t version = 3;
  int64_t alignment = 32;  // of the data; the key has to be put as well

  GgufBuilder& Value(std::string_view key, GgufKind kind, std::string_view bytes) {
    values_.push_back(GgufBytes().String(key).Kind(kind).Raw(bytes).text());
    return *this;
  }
  GgufBuilder& U32(std::string_view key, uint32_t value) {
    return Value(key, GgufKind::kU32, GgufBytes().Put(value).text());
  }
  GgufBuilder& F32(std::string_view key, float value) {
    return Value(key, GgufKind::kF32, GgufBytes().Put(value).text());
  }
  GgufBuilder& Bool(std::string_view key, bool value) {
    return Value(key, GgufKind::kBool, GgufBytes().Put<uint8_t>(value).text());
  }
  GgufBuilder& Text(std::string_view key, std::string_view value) {
    return Value(key, GgufKind::kString, GgufBytes().String(value).text());
  }
  GgufBuilder& Texts(std::string_view key, const std::vector<std::string>& values) {
    GgufBytes bytes;
    bytes.Kind(GgufKind::kString).Put<uint64_t>(values.size());
    for (const std::string& value : values) bytes.String(value);
    return Value(key, GgufKind::kArray, bytes.text());
  }
  template <class T>
  GgufBuilder& List(std::string_view key, GgufKind kind, const std::vector<T>& values) {
    GgufBytes bytes;
    bytes.Kind(kind).Put<uint64_t>(values.size());
    for (const T value : values) bytes.Put(value);
    return Value(key, GgufKind::kArray, bytes.text());
  }

  // shape as this program has it, columns last. The offset is the next aligned one.
  GgufBuilder& Tensor(std::string_view name, BlockType type, const std::vector<int64_t>& shape,
                      std::string_view bytes) {
    while (data_.size() % static_cast<size_t>(alignment) != 0) data_.push_back('\0');
    TensorAt(name, static_cast<uint32_t>(type), shape, data_.size());
    data_.append(bytes);
    return *this;
  }
  // A tensor's entry alone, whatever it says.
  GgufBuilder& TensorAt(std::string_view name, uint32_t type, const std::vector<int64_t>& shape,
                        uint64_t offset) {
    GgufBytes bytes;
    bytes.String(name).Put(static_cast<uint32_t>(shape.size()));
    for (size_t i = shape.size(); i-- > 0;) bytes.Put(shape[i]);
    tensors_.push_back(bytes.Put(type).Put(offset).text());
    return *this;
  }
  GgufBuilder& Data(std::string_view bytes) {
    data_.append(bytes);
    return *this;
  }

  std::string Build() const {
    GgufBytes bytes;
    bytes.Raw("GGUF").Put(version).Put<uint64_t>(tensors_.size()).Put<uint64_t>(values_.size());
    for (const std::string& value : values_) bytes.Raw(value);
    for (const std::string& tensor : tensors_) bytes.Raw(tensor);
    std::string text = bytes.text();
    while (!data_.empty() && text.size() % static_cast<size_t>(alignment) != 0) {
      text.push_back('\0');
    }
    return text + data_;
  }

 private:
  std::vector<std::string> values_;
  std::vector<std::string> tensors_;
  std::string data_;
};

inline std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// The keys of a llama of 2 layers and width 256, so that rows are whole blocks of every type: 4
// heads, 2 of keys and values, of 64, and a feed-forward of 256.
inline GgufBuilder WideLlama(uint32_t context) {
  GgufBuilder builder;
  builder.Text("general.architecture", "llama").U32("llama.context_length", context);
  builder.U32("llama.embedding_length", 256).U32("llama.feed_forward_length", 256);
  builder.U32("llama.block_count", 2).U32("llama.attention.head_count", 4);
  builder.U32("llama.attention.head_count_kv", 2);
  builder.F32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  return builder;
}

}  // namespace onepass
