// IdentityOfRun of answer_questions.h.
#include <bit>
#include <concepts>
#include <nlohmann/json.hpp>
#include <variant>

#include "core/file.h"
#include "core/hash.h"
#include "engine/base_tokenizer.h"
#include "eval/answer_questions.h"
#include "format/gguf.h"
#include "prompt/soft_prompt.h"
#include "retrieval/manifest.h"

namespace onepass {
namespace {

constexpr int kIdentityVersion = 2;
constexpr int64_t kMaxChainBytes = int64_t{16} << 20;

// Ends of texts count: {"ab", "c"} is not {"a", "bc"}.
uint64_t Add(uint64_t hash, std::string_view text) {
  return HashText(text, HashCombine(hash, text.size()));
}

uint64_t Add(uint64_t hash, std::integral auto number) {
  return HashCombine(hash, static_cast<uint64_t>(number));
}
uint64_t Add(uint64_t hash, double number) {
  return HashCombine(hash, std::bit_cast<uint64_t>(number));
}
uint64_t Add(uint64_t hash, const GgufArray& list) {
  hash = HashBytes(list.bytes, HashCombine(hash, static_cast<uint64_t>(list.count)));
  for (const std::string_view text : list.strings) hash = Add(hash, text);
  return hash;
}

// What the base's tokenizer is made of.
Result<uint64_t> HashTokenizer(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() == nullptr) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(FolderTokenizerPath(checkpoint.path())));
    return HashText(text);
  }
  uint64_t hash = 0;
  for (const auto& [key, entry] : checkpoint.gguf()->metadata()) {
    if (!key.starts_with("tokenizer.ggml.")) continue;
    hash = Add(hash, key);
    hash = std::visit([hash](const auto& value) { return Add(hash, value); }, entry.value);
  }
  return hash;
}

uint64_t HashQuestions(const Questions& questions) {
  uint64_t hash = questions.records.size();
  for (size_t i = 0; i < questions.records.size(); ++i) {
    const Record& record = questions.records[i];
    hash = HashCombine(hash, static_cast<uint64_t>(record.number));
    hash = HashCombine(hash, record.fields.size());
    for (const RecordField& field : record.fields) {
      hash = HashCombine(hash, static_cast<uint64_t>(field.kind));
      hash = Add(Add(hash, field.name), field.text);
      hash = HashCombine(hash, field.list.size());
      for (const std::string& item : field.list) hash = Add(hash, item);
    }
    hash = HashCombine(hash, questions.answers[i].size());
    for (const std::string& answer : questions.answers[i]) hash = Add(hash, answer);
  }
  return hash;
}

}  // namespace

Result<std::string> IdentityOfRun(const BoundMethod& bound, const Base& base,
                                  const Questions& questions) {
  const auto& [suite, method, seed, spec, kv_dtype, backend] = bound;
  nlohmann::ordered_json identity;
  identity["version"] = kIdentityVersion;
  ASSIGN_OR_RETURN(const std::string chain, ReadFile(method.chain, kMaxChainBytes));
  identity["chain"] = HashText(chain);
  // Which says nothing of the context and the tokenizer.
  identity["base"] = base.checkpoint->Fingerprint();
  identity["context"] = base.config().max_positions;
  ASSIGN_OR_RETURN(identity["tokenizer"], HashTokenizer(*base.checkpoint));
  for (const StageSpec& stage : spec.stages) {
    nlohmann::ordered_json& prompt = identity["prompts"].emplace_back();
    if (stage.prompt.empty()) continue;
    ASSIGN_OR_RETURN(const SoftPrompt loaded, LoadSoftPrompt(stage.prompt));
    prompt = loaded.content_hash;
  }
  // What an index's manifest says has the hash of the index.
  for (const ToolSpec& tool : spec.tools) {
    ASSIGN_OR_RETURN(const std::string manifest,
                     ReadFile(tool.index + "/" + kManifestFile, kMaxManifestBytes));
    identity["indexes"].push_back(HashText(manifest));
  }
  identity["questions"] = HashQuestions(questions);
  identity["seed"] = seed;
  identity["handoff"] = method.handoff.has_value() ? NameOf(*method.handoff) : "";
  identity["kv"] = KvTypeName(kv_dtype);
  identity["backend"] = backend;
  identity["batch"] = suite.batch;
  identity["answer"] = method.answer;
  identity["after"] = method.after;
  identity["metric"] = NameOf(suite.metric);
  identity["choices"] = suite.choices;
  return HexDigits(
      HashText(identity.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
}

}  // namespace onepass
