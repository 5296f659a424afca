#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace onepass {
namespace {

// The bytes of `values`, one byte off any alignment.
template <class T>
std::vector<std::byte> Misaligned(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T) + 1);
  std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(T));
  return bytes;
}

template <class T>
void CheckConversion(const std::vector<T>& stored, DType dtype, const std::vector<double>& want) {
  const std::vector<std::byte> bytes = Misaligned(stored);
  const RawTensor tensor{dtype, {std::ssize(stored)}, std::span(bytes).subspan(1)};
  std::vector<float> floats(want.size() - 1);
  ConvertTo(tensor, 1, std::ssize(floats), floats.data());
  std::vector<double> doubles(want.size());
  ConvertTo(tensor, 0, std::ssize(doubles), doubles.data());
  EXPECT_EQ(doubles, want);
  EXPECT_EQ(floats, std::vector<float>(want.begin() + 1, want.end()));
}

TEST(Tensor, ConvertReadsEveryFloatTypeUnaligned) {
  CheckConversion<double>({1, -2.5, 1e300}, DType::kF64, {1, -2.5, 1e300});
  CheckConversion<float>({1, -2.5, 3e38f}, DType::kF32, {1, -2.5, 3e38f});
  CheckConversion<uint16_t>({0x3c00, 0xc100, 0x0001}, DType::kF16, {1, -2.5, 0x1p-24});
  CheckConversion<uint16_t>({0x3f80, 0xc020, 0x0080}, DType::kBF16, {1, -2.5, 0x1p-126});
}

TEST(TensorDeathTest, ConvertRefusesToReadOutside) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::vector<std::byte> bytes(8);
  const RawTensor tensor{DType::kF32, {2}, bytes};
  float out[4];
  EXPECT_DEATH(ConvertTo(tensor, 1, 2, out), "outside");
  const RawTensor integers{DType::kI32, {2}, bytes};
  EXPECT_DEATH(ConvertTo(integers, 0, 2, out), "floating-point");
}

TEST(Tensor, BufferIsAlignedAndZeroed) {
  Buffer<float> buffer(3, 5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
  for (float value : buffer.span()) EXPECT_EQ(value, 0.0f);
}

TEST(Tensor, CopyIsIndependent) {
  Buffer<float> buffer(2, 2);
  Buffer<float> copy = buffer.Copy();
  copy.view()(1, 1) = 7;
  EXPECT_EQ(buffer.view()(1, 1), 0.0f);
  EXPECT_EQ(copy.view()(1, 1), 7.0f);
}

TEST(Tensor, ViewsOfRowsAndColumnsKeepTheStride) {
  std::vector<int> data = {0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23};
  const View<int> view(data.data(), 3, 4);
  const View<int> part = view.Rows(1, 2).Cols(2, 2);
  EXPECT_EQ(part.rows(), 2);
  EXPECT_EQ(part.cols(), 2);
  EXPECT_EQ(part(0, 0), 12);
  EXPECT_EQ(part(1, 1), 23);
}

TEST(Tensor, ShapesPrintAsLists) {
  EXPECT_EQ(ShapeToString(std::vector<int64_t>{}), "[]");
  EXPECT_EQ(ShapeToString(std::vector<int64_t>{128, 64}), "[128, 64]");
}

}  // namespace
}  // namespace onepass
