#include "bench/bench_base.h"

#include <stdlib.h>

#include <filesystem>
#include <utility>

#include "core/file.h"
#include "kernels/registry.h"
#include "model/checkpoint.h"

namespace onepass {
namespace {

class SilentDecodeState : public DecodeState {
 public:
  std::string Push(TokenId) override { return {}; }
  std::string Finish() override { return {}; }
};

// Every id is a token without text.
class SilentTokenizer : public Tokenizer {
 public:
  explicit SilentTokenizer(int64_t vocab_size) : vocab_size_(vocab_size) {}

  std::vector<TokenId> Encode(std::string_view, const EncodeOptions&) const override { return {}; }
  std::string Decode(std::span<const TokenId>, bool) const override { return {}; }
  std::unique_ptr<DecodeState> StartDecode(bool) const override {
    return std::make_unique<SilentDecodeState>();
  }
  std::optional<TokenId> IdOf(std::string_view) const override { return std::nullopt; }
  std::string TokenOf(TokenId) const override { return {}; }
  bool IsSpecial(TokenId) const override { return false; }
  TokenizerInfo Info() const override {
    return {.kind = "none", .vocab_size = vocab_size_, .merges = 0, .added_tokens = 0};
  }

 private:
  int64_t vocab_size_;
};

}  // namespace

Result<BenchFolder> BenchFolder::Create(const BenchBaseOptions& options) {
  if (!options.model.empty()) return BenchFolder(options.model, /*owned=*/false);
  ASSIGN_OR_RETURN(const ModelConfig config, NamedShape(options.shape));
  RETURN_IF_ERROR(MakeDirectories(options.scratch));
  std::string path = options.scratch + "/onepass-bench-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    return IoError("bench: want a folder to write a base to, found none (" + options.scratch + ")");
  }
  BenchFolder folder(path, /*owned=*/true);  // removes what a failed InitBase leaves
  RETURN_IF_ERROR(InitBase(config, options.dtype, /*seed=*/1, path));
  return folder;
}

BenchFolder::~BenchFolder() {
  std::error_code ignored;
  if (owned_) std::filesystem::remove_all(path_, ignored);
}

BenchFolder::BenchFolder(BenchFolder&& other) noexcept
    : path_(std::move(other.path_)), owned_(std::exchange(other.owned_, false)) {}

BenchFolder& BenchFolder::operator=(BenchFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(owned_, other.owned_);
  return *this;
}

Result<std::unique_ptr<Base>> LoadBenchBase(const std::string& folder,
                                            const BenchBaseOptions& options) {
  auto base = std::make_unique<Base>();
  ASSIGN_OR_RETURN(base->ops, MakeOps(options.backend, {.thread_count = options.thread_count}));
  ASSIGN_OR_RETURN(base->checkpoint, Checkpoint::Open(folder));
  ASSIGN_OR_RETURN(base->model, Transformer<float>::Create(base->checkpoint, *base->ops));
  base->tokenizer = std::make_unique<SilentTokenizer>(base->config().vocab_size);
  return base;
}

}  // namespace onepass
