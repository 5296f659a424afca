// The only place that knows which backends exist.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "kernels/ops.h"

namespace onepass {

struct BackendOptions {
  int thread_count = 0;  // at most 1024; 0: one per hardware thread
};

// The oracle, "ref", and the fast one, "cpu".
const std::vector<std::string>& BackendNames();
// The instructions that a backend computes with on this machine, which decide the last bits of its
// results; "" where they are the same on every machine. REQUIRES: one of BackendNames().
std::string InstructionSetOf(std::string_view backend);

// kInvalidArgument names the backends that exist.
Result<std::unique_ptr<Ops<float>>> MakeOps(std::string_view backend,
                                            const BackendOptions& options);
// The oracle in double, for finite differences.
std::unique_ptr<Ops<double>> MakeRefOpsDouble();
std::unique_ptr<Ops<float>> MakeRefOpsFloat();

}  // namespace onepass
