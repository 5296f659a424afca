// Tools that stand between a chain's stages: an output becomes a query, the documents that it finds
// become the next input.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chain/plan.h"
#include "chain/spec.h"
#include "chain/template.h"
#include "chain/transcript.h"
#include "retrieval/bm25_index.h"

namespace onepass {

// What one run of a tool gave. Plain data.
struct ToolResult {
  int step = 0;  // of the plan
  int tool = 0;  // of the chain
  std::string query;
  std::vector<std::pair<std::string, double>> documents;  // id and score, best first
  std::string text;                                       // what stands for {TOOL} in a template
  double ms = 0;
};

// A chain's tools, opened. Thread-compatible. Not copyable.
class Tools {
 public:
  // kNotFound, kInvalidArgument: an index that is missing or damaged.
  static Result<std::unique_ptr<Tools>> Open(const ChainSpec& spec);

  // Runs the tool of a step on what was said so far. kInvalidArgument: a field that the record
  // lacks.
  Result<ToolResult> Run(const Plan& plan, int step, const Transcript& transcript);

 private:
  struct Tool {
    std::string name;
    std::unique_ptr<Bm25Index> index;
    Bm25SearchOptions options;
    std::vector<TemplatePiece> query;
    std::vector<TemplatePiece> document;
  };
  std::vector<Tool> tools_;
};

}  // namespace onepass
