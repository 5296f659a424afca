// The limits that a benchmark reports its share of, measured beside it: other programs may be using
// the machine, so an old figure would say little.
#pragma once

#include <benchmark/benchmark.h>

#include "kernels/machine.h"
#include "kernels/registry.h"

namespace onepass {

// Adds GFLOP/s and the share of the peak measured now. seconds: the best of the iterations.
inline void ReportShare(benchmark::State& state, ThreadPool& pool, double operations,
                        double seconds) {
  const double gflops = operations / seconds * 1e-9;
  state.counters["GFLOP/s"] = gflops;
  state.counters["peak_share"] = gflops / MeasurePeakGflops(pool);
}

}  // namespace onepass
