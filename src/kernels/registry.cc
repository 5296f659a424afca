#include "kernels/registry.h"

#include "core/quote.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/ref/ref_ops.h"

namespace onepass {
namespace {

constexpr int kMaxThreads = 1024;

}  // namespace

Result<std::unique_ptr<Ops<float>>> MakeOps(std::string_view backend,
                                            const BackendOptions& options) {
  if (options.thread_count < 0 || options.thread_count > kMaxThreads) {
    return InvalidArgument("backend: want 0 to " + std::to_string(kMaxThreads) +
                           " threads, found " + std::to_string(options.thread_count));
  }
  if (backend == "ref") return MakeRefOpsFloat();
  if (backend == "cpu") {
    std::unique_ptr<Ops<float>> ops = std::make_unique<CpuOps>(options.thread_count);
    return ops;
  }
  return InvalidArgument("backend: want ref or cpu, found " + Quote(backend));
}

std::unique_ptr<Ops<double>> MakeRefOpsDouble() { return std::make_unique<RefOps<double>>(); }

std::unique_ptr<Ops<float>> MakeRefOpsFloat() { return std::make_unique<RefOps<float>>(); }

}  // namespace onepass
