#include "train/upstream_outputs.h"

#include <algorithm>
#include <utility>

namespace onepass {

Result<std::unique_ptr<UpstreamOutputs>> UpstreamOutputs::Create(
    Base& base, const ChainSpec& spec, int stage,
    const std::vector<std::optional<SoftPrompt>>& prompts,
    const std::vector<int64_t>& prompt_lengths) {
  // Stages from the trained one on matter for the positions only.
  ChainSpec earlier = spec;
  for (auto later = earlier.stages.begin() + stage; later != earlier.stages.end(); ++later) {
    later->max_tokens = 1;
  }
  std::vector<SoftPrompt> loaded(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    Buffer<float>& vectors = loaded[i].vectors;
    vectors = prompts[i].has_value() ? prompts[i]->vectors.Copy()
                                     : Buffer<float>(prompt_lengths[i], base.config().width);
    if (prompts[i].has_value()) {
      loaded[i].facts = prompts[i]->facts;
    } else {
      const std::vector<float> none(base.config().width);
      loaded[i].facts.emplace();
      for (const std::string& token : spec.stages[i].added_tokens) {
        loaded[i].facts->added_tokens.push_back({token, none, none});
      }
    }
    loaded[i].content_hash = ContentHash(std::as_const(vectors).view());
  }
  ASSIGN_OR_RETURN(auto runner, ChainRunner::Create(base, earlier, std::move(loaded), {}));
  return std::unique_ptr<UpstreamOutputs>(new UpstreamOutputs(std::move(runner), stage));
}

Status UpstreamOutputs::WriteInto(const std::vector<std::string>& fields, Record* record) {
  const RecordResult result = std::move(runner_->Run({record, 1})[0]);
  RETURN_IF_ERROR(result.status);
  for (int i = 0; i < stage_; ++i) {  // each stage runs once
    auto field = std::ranges::find(record->fields, fields[i], &RecordField::name);
    if (field == record->fields.end()) field = record->fields.insert(field, {.name = fields[i]});
    *field = {.name = fields[i], .text = result.stages[i].text, .json_type = "string"};
  }
  return Status::Ok();
}

}  // namespace onepass
