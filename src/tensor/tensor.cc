#include "tensor/tensor.h"

#include <cstring>
#include <type_traits>

namespace onepass {
namespace {

template <class Stored>
Stored LoadAt(const std::byte* bytes, int64_t index) {
  Stored value;
  std::memcpy(&value, bytes + index * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
  return value;
}

float Widen(BF16 v) { return ToFloat(v); }
float Widen(F16 v) { return ToFloat(v); }
float Widen(float v) { return v; }
double Widen(double v) { return v; }

template <class Stored, class Real>
void ConvertAll(const std::byte* bytes, int64_t count, Real* out) {
  if constexpr (std::is_same_v<Stored, Real>) {
    if (count > 0) std::memcpy(out, bytes, static_cast<size_t>(count) * sizeof(Real));
  } else {
    for (int64_t i = 0; i < count; ++i) {
      out[i] = static_cast<Real>(Widen(LoadAt<Stored>(bytes, i)));
    }
  }
}

}  // namespace

std::string ShapeToString(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

template <class Real>
void ConvertTo(const RawTensor& tensor, int64_t begin, int64_t count, Real* out) {
  const int64_t element_count = static_cast<int64_t>(tensor.bytes.size()) / SizeOf(tensor.dtype);
  ONEPASS_CHECK(begin >= 0 && count >= 0 && begin <= element_count - count,
                "range outside the tensor");
  const std::byte* bytes = tensor.bytes.data() + begin * SizeOf(tensor.dtype);
  switch (tensor.dtype) {
    case DType::kF64:
      return ConvertAll<double>(bytes, count, out);
    case DType::kF32:
      return ConvertAll<float>(bytes, count, out);
    case DType::kF16:
      return ConvertAll<F16>(bytes, count, out);
    case DType::kBF16:
      return ConvertAll<BF16>(bytes, count, out);
    default:
      ONEPASS_CHECK(false, "not a floating-point tensor");
  }
}

template void ConvertTo<float>(const RawTensor&, int64_t, int64_t, float*);
template void ConvertTo<double>(const RawTensor&, int64_t, int64_t, double*);

}  // namespace onepass
