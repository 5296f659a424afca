#include "kernels/machine.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "core/check.h"
#include "kernels/cpu/dot.h"
#include "kernels/cpu/targets.h"
#include "kernels/cpu/weight_memory.h"
#include "kernels/machine_vnni.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/machine.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace onepass {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Runs `rounds` times 12 independent multiply-adds and returns a value that depends on all; their
// number of floating-point operations goes to *operations.
float MultiplyAdd(int64_t rounds, double* operations) {
  const hn::CappedTag<float, 16> d;
  using V = hn::Vec<decltype(d)>;
  constexpr int kSums = 12;
  V sums[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sums[i] = hn::Set(d, static_cast<float>(i));
  V a = hn::Set(d, 0.999f);
  V b = hn::Set(d, 0.001f);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = hn::MulAdd(sums[i], a, b);
  }
  V total = sums[0];
  for (int i = 1; i < kSums; ++i) total = hn::Add(total, sums[i]);
  *operations = static_cast<double>(rounds) * kSums * 2 * static_cast<double>(hn::Lanes(d));
  return hn::GetLane(hn::SumOfLanes(d, total));
}

// The same of 16-bit integers, two neighbouring products to a 32-bit sum.
float MultiplyAddWide(int64_t rounds, double* operations) {
  const hn::CappedTag<int32_t, 16> di;
  const hn::Repartition<int16_t, decltype(di)> d16;
  using V = hn::Vec<decltype(di)>;
  constexpr int kSums = 12;
  V sums[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sums[i] = hn::Set(di, i);
  V rest = hn::Zero(di);
  volatile int16_t zero = 0;  // nobody may know it: sums stay small, and no product is left out
  const auto a = hn::Set(d16, zero);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) {
      // A factor is the sum itself, else the product would be the same in all rounds.
      sums[i] =
          hn::ReorderWidenMulAccumulate(di, a, hn::BitCast(d16, sums[i]), sums[i], /*byref*/ rest);
    }
  }
  V total = rest;
  for (int i = 0; i < kSums; ++i) total = hn::Add(total, sums[i]);
  *operations = static_cast<double>(rounds) * kSums * 2 * static_cast<double>(hn::Lanes(d16));
  return static_cast<float>(hn::GetLane(hn::SumOfLanes(di, total)));
}

using PeakLoop = float (*)(int64_t rounds, double* operations);

// The integers' loop that the products' own choice goes with.
PeakLoop BestIntegerLoop() {
#if HWY_TARGET == HWY_AVX3
  if (HasVnni()) return MultiplyAddVnni;
#endif
  return MultiplyAddWide;
}

float ReadAll(const float* from, int64_t count) {
  const hn::CappedTag<float, 16> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d);
  auto sum1 = hn::Zero(d);
  auto sum2 = hn::Zero(d);
  auto sum3 = hn::Zero(d);
  for (int64_t i = 0; i + 4 * n <= count; i += 4 * n) {
    sum0 = hn::Add(sum0, hn::LoadU(d, from + i));
    sum1 = hn::Add(sum1, hn::LoadU(d, from + i + n));
    sum2 = hn::Add(sum2, hn::LoadU(d, from + i + 2 * n));
    sum3 = hn::Add(sum3, hn::LoadU(d, from + i + 3 * n));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
}

}  // namespace HWY_NAMESPACE
}  // namespace onepass
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace onepass {

HWY_EXPORT(MultiplyAdd);
HWY_EXPORT(BestIntegerLoop);
HWY_EXPORT(ReadAll);

namespace {

double SecondsOf(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// A result of each thread, on its own cache line, so that nothing is optimised away.
struct alignas(64) Slot {
  double operations = 0;
  volatile float value = 0;
};

// The most that all threads reach together in `loop`, in 10^9 operations a second.
double MeasurePeak(ThreadPool& pool,
                   const std::function<float(int64_t rounds, double* operations)>& loop) {
  constexpr int kTrials = 20;
  constexpr int64_t kRounds = 1'000'000;
  std::vector<Slot> slots(pool.thread_count());
  double best = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const double seconds = SecondsOf([&] {
      pool.ParallelFor(pool.thread_count(), 1, [&](int64_t, int64_t, int thread) {
        slots[thread].value = loop(kRounds, &slots[thread].operations);
      });
    });
    double operations = 0;
    for (const Slot& slot : slots) operations += slot.operations;
    best = std::max(best, operations / seconds * 1e-9);
  }
  return best;
}

}  // namespace

double MeasurePeakGflops(ThreadPool& pool) {
  return MeasurePeak(pool, [](int64_t rounds, double* operations) {
    return HWY_DYNAMIC_DISPATCH(MultiplyAdd)(rounds, operations);
  });
}

double MeasurePeakInt8Gops(ThreadPool& pool) {
  return MeasurePeak(pool, HWY_DYNAMIC_DISPATCH(BestIntegerLoop)());
}

double MeasureMemoryBandwidth(ThreadPool& pool, int64_t bytes) {
  constexpr int kTrials = 5;
  // As weights lie, which are what is streamed.
  WeightMemory chunks;
  const auto memory =
      chunks.Take<float>(std::max<int64_t>(bytes / static_cast<int64_t>(sizeof(float)), 1));
  std::vector<Slot> slots(pool.thread_count());
  double best = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const double seconds = SecondsOf([&] {
      pool.ParallelFor(memory.size(), 1024, [&](int64_t begin, int64_t end, int thread) {
        slots[thread].value = HWY_DYNAMIC_DISPATCH(ReadAll)(memory.data() + begin, end - begin);
      });
    });
    best = std::max(best, static_cast<double>(memory.bytes()) / seconds * 1e-9);
  }
  return best;
}

namespace {

// The lowest set bit is the best target.
int64_t AvailableTargets() { return hwy::SupportedTargets() & HWY_TARGETS; }

// AVX-512 with the byte products of VNNI, for which Highway has no name.
constexpr char kVnni[] = "AVX3_VNNI";

#if HWY_ARCH_X86
constexpr int64_t kVnniTarget = HWY_AVX3;
#else
constexpr int64_t kVnniTarget = 0;
#endif

bool UsesVnni() { return HasVnni() && (hwy::SupportedTargets() & kVnniTarget) != 0; }

}  // namespace

const char* InstructionSetName() {
  if (UsesVnni()) return kVnni;
  const int64_t targets = AvailableTargets();
  return hwy::TargetName(targets & -targets);
}

std::vector<std::string> InstructionSetNames() {
  std::vector<std::string> names;
  if (UsesVnni()) names.push_back(kVnni);
  for (int64_t left = AvailableTargets(); left != 0; left &= left - 1) {
    names.push_back(hwy::TargetName(left & -left));
  }
  return names;
}

void ForceInstructionSet(std::string_view name) {
  hwy::SetSupportedTargetsForTest(0);
  AllowVnni(true);
  int64_t chosen = 0;
  if (name == kVnni && UsesVnni()) {
    chosen = kVnniTarget;
  } else {
    for (int64_t left = AvailableTargets(); left != 0; left &= left - 1) {
      if (name == hwy::TargetName(left & -left)) chosen = left & -left;
    }
    AllowVnni(name.empty());
  }
  ONEPASS_CHECK(chosen != 0 || name.empty(), "no such instruction set here");
  hwy::SetSupportedTargetsForTest(chosen);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace onepass
#endif
