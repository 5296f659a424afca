#include <utility>

#include "model/tape_impl.h"

namespace onepass {

template <class Real>
Tape<Real>::Tape(TapeMode mode) : impl_(std::make_unique<Impl>()) {
  impl_->mode = mode;
}
template <class Real>
Tape<Real>::~Tape() = default;
template <class Real>
Tape<Real>::Tape(Tape&&) noexcept = default;
template <class Real>
Tape<Real>& Tape<Real>::operator=(Tape&&) noexcept = default;

template <class Real>
int64_t Tape<Real>::call_count() const {
  return static_cast<int64_t>(impl_->calls.size());
}
template <class Real>
View<Real> Tape<Real>::dhidden(int64_t call) {
  return impl_->calls.at(call).dhidden.view();
}
template <class Real>
View<const Real> Tape<Real>::dvectors(int64_t call) const {
  return std::as_const(impl_->calls.at(call).dvectors).view();
}
template <class Real>
int64_t Tape<Real>::bytes() const {
  return impl_->bytes + impl_->recomputed_bytes;
}

template class Tape<float>;
template class Tape<double>;

}  // namespace onepass
