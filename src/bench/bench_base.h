// The base that a measurement runs: a folder that exists, or random weights of a named shape
// (random numbers cost what real ones do).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "bench/report.h"
#include "core/status.h"
#include "engine/engine.h"
#include "tensor/blocks.h"
#include "tensor/dtype.h"

namespace onepass {

struct BenchBaseOptions {
  std::string model;                   // a model folder; empty: random weights of `shape`
  std::string shape = "smollm2-135m";  // see NamedShape
  DType dtype = DType::kBF16;          // of random weights
  std::optional<BlockType> weights;    // matrices converted to these blocks; Q8_0 or Q4_0
  std::string scratch = "/tmp";        // where a random base is written for the time of the run
  std::string backend = "cpu";
  int thread_count = 0;                     // 0: one per hardware thread
  int64_t memory_bytes = int64_t{1} << 30;  // read to measure the memory's bandwidth

  // Told what is measured next; may be empty. Never called while time is taken.
  std::function<void(const std::string&)> on_progress;

  const std::string& Name() const { return model.empty() ? shape : model; }
  void Tell(const std::string& text) const {
    if (on_progress) on_progress(text);
  }
};

// A model folder, and its removal at destruction where it was made here. Movable.
class BenchFolder {
 public:
  // Writes a random base into a new folder of its own under `scratch` unless `model` is given; with
  // `weights` either is converted into one.
  static Result<BenchFolder> Create(const BenchBaseOptions& options);
  ~BenchFolder();
  BenchFolder(BenchFolder&& other) noexcept;
  BenchFolder& operator=(BenchFolder&& other) noexcept;

  const std::string& path() const { return path_; }

 private:
  // A new empty folder.
  static Result<BenchFolder> Make(const BenchBaseOptions& options);
  // This one's base with its matrices in `type`, in a new folder.
  Result<BenchFolder> Converted(BlockType type, const BenchBaseOptions& options) const;

  BenchFolder(std::string path, bool owned) : path_(std::move(path)), owned_(owned) {}
  std::string path_;
  bool owned_ = false;
};

// The folder's base without its tokenizer: one that gives no text stands in, so that nothing but
// the model's work is measured and a random base needs no vocabulary.
Result<std::unique_ptr<Base>> LoadBenchBase(const std::string& folder,
                                            const BenchBaseOptions& options);

// What a report says of a base and of what it runs on, and `more` behind it.
BenchFacts FactsOf(const Base& base, const BenchBaseOptions& options, const BenchFacts& more);

}  // namespace onepass
