// The only place that knows which backends exist.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/status.h"
#include "kernels/ops.h"

namespace onepass {

struct BackendOptions {
  int thread_count = 0;  // at most 1024; 0: one per hardware thread
};

// "ref" or "cpu". kInvalidArgument names those that exist.
Result<std::unique_ptr<Ops<float>>> MakeOps(std::string_view backend,
                                            const BackendOptions& options);
// The oracle in double, for finite differences.
std::unique_ptr<Ops<double>> MakeRefOpsDouble();
std::unique_ptr<Ops<float>> MakeRefOpsFloat();

}  // namespace onepass
