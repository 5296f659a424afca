#include "kernels/registry.h"

#include "kernels/cpu/cpu_ops.h"
#include "kernels/ref/ref_ops.h"

namespace onepass {

Result<std::unique_ptr<Ops<float>>> MakeOps(std::string_view backend,
                                            const BackendOptions& options) {
  if (options.thread_count < 0) {
    return InvalidArgument("backend: want thread_count >= 0, found " +
                           std::to_string(options.thread_count));
  }
  if (backend == "ref") return MakeRefOpsFloat();
  if (backend == "cpu") {
    std::unique_ptr<Ops<float>> ops = std::make_unique<CpuOps>(options.thread_count);
    return ops;
  }
  return InvalidArgument("backend: want ref or cpu, found \"" + std::string(backend) + "\"");
}

std::unique_ptr<Ops<double>> MakeRefOpsDouble() { return std::make_unique<RefOps<double>>(); }

std::unique_ptr<Ops<float>> MakeRefOpsFloat() { return std::make_unique<RefOps<float>>(); }

}  // namespace onepass
