// Where reading and writing lie below the machine's roofs: operations a second over arithmetic
// intensity (operations a byte of memory), both axes logarithmic, as an SVG picture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/bench_base.h"
#include "bench/report.h"
#include "bench/work.h"
#include "core/status.h"

namespace onepass {

// One kind of work as it was measured. Plain data.
struct RooflinePoint {
  std::string weights;  // their stored type: points of one type have one colour
  std::string name;     // "prefill 512"
  std::string value;    // what a user counts: "1107 tok/s"
  bool is_prefill = false;
  double arithmetic_intensity = 0;  // operations a byte
  double gops = 0;
  double share = 0;  // of the limit that binds it, computing's or memory's; 0 to 1
};

struct Roofline {
  std::string title;
  Peaks peaks;
  std::vector<RooflinePoint> points;
};

// A whole SVG document: roofs of memory, f32 and int8, numbered points, a list of what they are.
// Readable on light and dark pages. Bytes of names that are no text become '?'.
// REQUIRES: peaks, arithmetic_intensity and gops above 0.
std::string RooflineSvg(const Roofline& roofline);

struct RooflineBenchOptions {
  // A folder of dense weights is measured as it is, in 8 and in 4 bits; a GGUF file and what is
  // quantised already, as it is.
  BenchBaseOptions base;
  DType kv_dtype = DType::kF32;                     // what KV is stored in: F32, BF16 or I8
  std::vector<int64_t> token_counts = {512, 3000};  // of prefills
  std::vector<int64_t> batch_sizes = {1, 8};        // sequences of decodes
  int64_t context_tokens = 512;                     // before each of them
  int64_t steps = 32;
  int repeats = 3;
};

struct RooflineResult {
  BenchReport report;  // a row for each point
  std::string svg;
};
Result<RooflineResult> BenchRoofline(const RooflineBenchOptions& options);

}  // namespace onepass
