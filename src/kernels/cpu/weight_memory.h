// Memory of packed weights: they lie together in chunks of large pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace onepass {

// A zeroed piece of a chunk, aligned to 64 bytes. Keeps the chunk alive. Movable.
template <class T>
class WeightPiece {
 public:
  WeightPiece() = default;
  WeightPiece(std::shared_ptr<std::byte> chunk, T* data, int64_t size)
      : chunk_(std::move(chunk)), data_(data), size_(size) {}

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * static_cast<int64_t>(sizeof(T)); }

 private:
  std::shared_ptr<std::byte> chunk_;
  T* data_ = nullptr;
  int64_t size_ = 0;
};

// Hands out pieces of chunks, one after the other; a chunk goes with its last piece.
// Thread-compatible.
class WeightMemory {
 public:
  template <class T>
  WeightPiece<T> Take(int64_t size) {
    auto* data = reinterpret_cast<T*>(Find(size * static_cast<int64_t>(sizeof(T))));
    return {chunk_, data, size};
  }

 private:
  // Where the next `bytes` of chunk_ begin; makes another chunk where this one is full.
  std::byte* Find(int64_t bytes);

  std::shared_ptr<std::byte> chunk_;
  int64_t chunk_bytes_ = 0;
  int64_t used_ = 0;
};

}  // namespace onepass
