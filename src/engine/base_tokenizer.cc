#include "engine/base_tokenizer.h"

#include <array>
#include <filesystem>
#include <limits>

#include "tokenizer/gguf_vocabulary.h"

namespace onepass {
namespace {

std::string Key(const std::string& name) { return "tokenizer.ggml." + name; }

Result<std::vector<std::string_view>> Texts(const GgufFile& file, const std::string& name) {
  constexpr std::array kinds = {GgufKind::kString};
  ASSIGN_OR_RETURN(const GgufArray* array, file.Array(Key(name), kinds));
  return array == nullptr ? std::vector<std::string_view>() : array->strings;
}

Result<std::vector<int32_t>> Types(const GgufFile& file) {
  constexpr std::array kinds = {GgufKind::kI32, GgufKind::kU32};
  ASSIGN_OR_RETURN(const GgufArray* array, file.Array(Key("token_type"), kinds));
  std::vector<int32_t> types;
  for (int64_t i = 0; array != nullptr && i < array->count; ++i) {
    types.push_back(static_cast<int32_t>(array->Integer(i)));
  }
  return types;
}

Result<std::vector<float>> Scores(const GgufFile& file) {
  constexpr std::array kinds = {GgufKind::kF32};
  ASSIGN_OR_RETURN(const GgufArray* array, file.Array(Key("scores"), kinds));
  std::vector<float> scores;
  for (int64_t i = 0; array != nullptr && i < array->count; ++i) {
    scores.push_back(static_cast<float>(array->Number(i)));
  }
  return scores;
}

Result<std::optional<TokenId>> Id(const GgufFile& file, const std::string& name) {
  constexpr int64_t kMaxId = std::numeric_limits<TokenId>::max();
  // 2^32 - 1 is some writers' word for none.
  ASSIGN_OR_RETURN(const auto id, file.Integer(Key(name), -1, int64_t{0xffffffff}));
  if (!id || *id < 0 || *id > kMaxId) return std::optional<TokenId>();
  return std::optional<TokenId>(static_cast<TokenId>(*id));
}

Result<std::unique_ptr<const Tokenizer>> LoadFolderTokenizer(const std::string& dir) {
  const std::string path = FolderTokenizerPath(dir);
  if (path.empty())
    return NotFound(dir + ": want tokenizer.json or tokenizer.model, found neither");
  if (path.ends_with(".json")) return LoadTokenizerJson(path);
  return LoadTiktoken(path, Llama3TiktokenOptions());
}

}  // namespace

std::string FolderTokenizerPath(const std::string& dir) {
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    const std::string path = (std::filesystem::path(dir) / name).string();
    std::error_code error;
    if (std::filesystem::exists(path, error)) return path;
  }
  return "";
}

Result<std::unique_ptr<const Tokenizer>> GgufTokenizer(const GgufFile& file) {
  GgufVocabulary vocabulary;
  ASSIGN_OR_RETURN(const auto model, file.Text(Key("model")));
  if (!model) return file.Want(Key("model"), "\"gpt2\" or \"llama\"");
  vocabulary.model = *model;
  ASSIGN_OR_RETURN(const auto pre, file.Text(Key("pre")));
  vocabulary.pre = pre.value_or("");
  ASSIGN_OR_RETURN(vocabulary.tokens, Texts(file, "tokens"));
  ASSIGN_OR_RETURN(vocabulary.merges, Texts(file, "merges"));
  ASSIGN_OR_RETURN(vocabulary.types, Types(file));
  ASSIGN_OR_RETURN(vocabulary.scores, Scores(file));
  ASSIGN_OR_RETURN(vocabulary.bos, Id(file, "bos_token_id"));
  ASSIGN_OR_RETURN(vocabulary.eos, Id(file, "eos_token_id"));
  ASSIGN_OR_RETURN(vocabulary.unknown, Id(file, "unknown_token_id"));
  ASSIGN_OR_RETURN(vocabulary.add_bos, file.Bool(Key("add_bos_token")));
  ASSIGN_OR_RETURN(vocabulary.add_eos, file.Bool(Key("add_eos_token")));
  ASSIGN_OR_RETURN(vocabulary.add_space_prefix, file.Bool(Key("add_space_prefix")));
  ASSIGN_OR_RETURN(const auto squeezes, file.Bool(Key("remove_extra_whitespaces")));
  if (squeezes.value_or(false)) {
    return file.WantSupported(Key("remove_extra_whitespaces"), "false");
  }
  return MakeGgufTokenizer(vocabulary, file.name());
}

Result<std::unique_ptr<const Tokenizer>> TokenizerOf(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) return GgufTokenizer(*checkpoint.gguf());
  return LoadFolderTokenizer(checkpoint.path());
}

Result<std::unique_ptr<const Tokenizer>> LoadBaseTokenizer(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) {
    ASSIGN_OR_RETURN(const auto file, GgufFile::Open(path));
    return GgufTokenizer(*file);
  }
  return LoadFolderTokenizer(path);
}

}  // namespace onepass
