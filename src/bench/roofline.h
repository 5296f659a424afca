// Where reading and writing lie below the machine's roofs: operations a second over operations a
// byte of memory, both axes logarithmic, as an SVG picture.
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
  double ops_per_byte = 0;
  double gops = 0;
  double share = 0;  // of the limit that binds it, 0 to 1
};

struct Roofline {
  std::string title;
  Peaks peaks;
  std::vector<RooflinePoint> points;
};

// A whole SVG document: roofs of memory, f32 and int8, numbered points, a list of what they are.
// Readable on light and dark pages. Bytes of names that are no text become '?'.
// REQUIRES: peaks, ops_per_byte and gops above 0.
std::string RooflineSvg(const Roofline& roofline);

struct RooflineBenchOptions {
  BenchBaseOptions base;  // a dense one is measured as it is, in 8 and in 4 bits
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
