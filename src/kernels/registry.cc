#include "kernels/registry.h"

#include <algorithm>

#include "core/check.h"
#include "core/quote.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/machine.h"
#include "kernels/ref/ref_ops.h"

namespace onepass {
namespace {

constexpr int kMaxThreads = 1024;
constexpr char kRef[] = "ref";
constexpr char kCpu[] = "cpu";

}  // namespace

const std::vector<std::string>& BackendNames() {
  static const std::vector<std::string> names = {kRef, kCpu};
  return names;
}

std::string InstructionSetOf(std::string_view backend) {
  ONEPASS_CHECK(std::ranges::find(BackendNames(), backend) != BackendNames().end(), backend);
  return backend == kCpu ? InstructionSetName() : "";
}

Result<std::unique_ptr<Ops<float>>> MakeOps(std::string_view backend,
                                            const BackendOptions& options) {
  if (options.thread_count < 0 || options.thread_count > kMaxThreads) {
    return InvalidArgument("backend: want 0 to " + std::to_string(kMaxThreads) +
                           " threads, found " + std::to_string(options.thread_count));
  }
  if (backend == kRef) return MakeRefOpsFloat();
  if (backend == kCpu) {
    std::unique_ptr<Ops<float>> ops = std::make_unique<CpuOps>(options.thread_count);
    return ops;
  }
  std::string names;
  for (const std::string& name : BackendNames()) names += (names.empty() ? "" : " or ") + name;
  return InvalidArgument("backend: want " + names + ", found " + Quote(backend));
}

std::unique_ptr<Ops<double>> MakeRefOpsDouble() { return std::make_unique<RefOps<double>>(); }

std::unique_ptr<Ops<float>> MakeRefOpsFloat() { return std::make_unique<RefOps<float>>(); }

}  // namespace onepass
