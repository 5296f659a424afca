// Buffers and borrowed views. No mathematics here.
//   View<T>      borrows a row-major [rows, cols] block (row stride >= cols)
//   Buffer<T>    owns one, aligned to 64 bytes, zeroed but for ForOverwrite
//   RawTensor    borrows the bytes of a stored tensor of any dtype and shape
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "tensor/dtype.h"

namespace onepass {

// A borrowed row-major block. Cheap to copy.
template <class T>
class View {
 public:
  View() = default;
  View(T* data, int64_t rows, int64_t cols) : View(data, rows, cols, cols) {}
  View(T* data, int64_t rows, int64_t cols, int64_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {}

  operator View<const T>() const { return {data_, rows_, cols_, stride_}; }

  T* data() const { return data_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t stride() const { return stride_; }
  bool empty() const { return rows_ == 0 || cols_ == 0; }

  T* row(int64_t r) const { return data_ + r * stride_; }
  T& operator()(int64_t r, int64_t c) const { return data_[r * stride_ + c]; }

  View Rows(int64_t begin, int64_t count) const {
    return {data_ + begin * stride_, count, cols_, stride_};
  }
  View Cols(int64_t begin, int64_t count) const { return {data_ + begin, rows_, count, stride_}; }

 private:
  T* data_ = nullptr;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  int64_t stride_ = 0;
};

// Owns [rows, cols], 64-byte aligned, zeroed at construction (but ForOverwrite). Movable; Copy() is
// explicit.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(int64_t rows, int64_t cols) : Buffer(rows, cols, NotInitialised()) {
    std::fill_n(data_.get(), rows * cols, T{});
  }

  // Not initialised: for what is written before it is read. Its pages are then first touched by the
  // threads that write them.
  static Buffer ForOverwrite(int64_t rows, int64_t cols) {
    return Buffer(rows, cols, NotInitialised());
  }

  Buffer Copy() const {
    Buffer other = ForOverwrite(rows_, cols_);
    std::copy_n(data_.get(), size(), other.data_.get());
    return other;
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t size() const { return rows_ * cols_; }
  int64_t bytes() const { return size() * static_cast<int64_t>(sizeof(T)); }

  View<T> view() { return {data_.get(), rows_, cols_}; }
  View<const T> view() const { return {data_.get(), rows_, cols_}; }
  std::span<T> span() { return {data_.get(), static_cast<size_t>(size())}; }
  std::span<const T> span() const { return {data_.get(), static_cast<size_t>(size())}; }

 private:
  struct NotInitialised {};
  Buffer(int64_t rows, int64_t cols, NotInitialised) : rows_(rows), cols_(cols) {
    const size_t bytes = (static_cast<size_t>(rows * cols) * sizeof(T) + 63) / 64 * 64;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, std::max<size_t>(bytes, 64))));
    if (data_ == nullptr) EndOutOfMemory(static_cast<int64_t>(bytes));
  }

  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::unique_ptr<T[], Free> data_;
};

// A stored tensor: dtype, shape and borrowed little-endian bytes, which are not always aligned for
// their type. The file it came from must outlive it. Cheap to copy.
struct RawTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  int64_t element_count() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
};

// "[128, 64]"
std::string ShapeToString(std::span<const int64_t> shape);

// Converts `count` elements from element `begin` of a floating-point tensor into out.
// Real is float or double. REQUIRES: the range lies inside the tensor; dtype is F64, F32, F16 or
// BF16.
template <class Real>
void ConvertTo(const RawTensor& tensor, int64_t begin, int64_t count, Real* out);

}  // namespace onepass
