// What a run did, as JSON: lines of `onepass run` (docs/formats/run-output.md), answers of the
// server.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "chain/plan.h"
#include "chain/record_result.h"
#include "chain/spec.h"

namespace onepass {

// One run of a stage, of a tool.
nlohmann::ordered_json StageToJson(const ChainSpec& spec, const Plan& plan,
                                   const StageResult& stage);
nlohmann::ordered_json ToolToJson(const ChainSpec& spec, const Plan& plan, const ToolResult& tool);
// REQUIRES: result.status.ok()
nlohmann::ordered_json RecordToJson(const ChainSpec& spec, const Plan& plan,
                                    const RecordResult& result);

// A record's line, without the line end; {"record": n, "error": "..."} where it failed.
std::string ResultToJson(const ChainSpec& spec, const Plan& plan, const RecordResult& result);
std::string ErrorLine(int64_t number, const Status& status);

// In one line; bytes that are no UTF-8 come out as U+FFFD.
std::string JsonLine(const nlohmann::ordered_json& json);

}  // namespace onepass
