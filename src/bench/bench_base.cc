#include "bench/bench_base.h"

#include <stdlib.h>

#include <filesystem>
#include <utility>

#include "core/file.h"
#include "kernels/registry.h"
#include "model/checkpoint.h"
#include "model/convert.h"

namespace onepass {
namespace {

class SilentDecodeState : public DecodeState {
 public:
  std::string_view Push(TokenId) override { return {}; }
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

Result<BenchFolder> BenchFolder::Make(const BenchBaseOptions& options) {
  RETURN_IF_ERROR(MakeDirectories(options.scratch));
  std::string path = options.scratch + "/onepass-bench-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    return IoError("bench: want a folder to write a base to, found none (" + options.scratch + ")");
  }
  return BenchFolder(path, /*owned=*/true);
}

Result<BenchFolder> BenchFolder::Create(const BenchBaseOptions& options) {
  if (!options.model.empty()) {
    BenchFolder given(options.model, /*owned=*/false);
    if (!options.weights) return given;
    return given.Converted(*options.weights, options);
  }
  ASSIGN_OR_RETURN(const ModelConfig config, NamedShape(options.shape));
  ASSIGN_OR_RETURN(BenchFolder folder, Make(options));  // removes what a failed InitBase leaves
  options.Tell("random weights");
  RETURN_IF_ERROR(InitBase(config, options.dtype, /*seed=*/1, folder.path()));
  if (!options.weights) return folder;
  return folder.Converted(*options.weights, options);
}

Result<BenchFolder> BenchFolder::Converted(BlockType type, const BenchBaseOptions& options) const {
  ASSIGN_OR_RETURN(const auto base, Checkpoint::Open(path_));
  ASSIGN_OR_RETURN(BenchFolder folder, Make(options));
  ThreadPool pool(options.thread_count);
  options.Tell("weights in " + std::string(FormatOf(type).name));
  RETURN_IF_ERROR(
      ConvertBase(*base, {.weights = type, .head = type}, folder.path(), pool, {}).status());
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

BenchFacts FactsOf(const Base& base, const BenchBaseOptions& options, const BenchFacts& more) {
  BenchFacts facts = {{"base", options.Name()},
                      {"weights", std::string(base.checkpoint->stored_type())},
                      {"backend", std::string(base.ops->name())},
                      {"instruction_set", InstructionSetOf(options.backend)},
                      {"threads", int64_t{base.ops->pool().thread_count()}}};
  facts.insert(facts.end(), more.begin(), more.end());
  return facts;
}

}  // namespace onepass
