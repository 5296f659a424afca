// onepass tokenize: text to ids and pieces, and back.
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "commands.h"
#include "core/file.h"
#include "core/quote.h"
#include "engine/base_tokenizer.h"
#include "format/gguf.h"
#include "tokenizer/tokenizer.h"

namespace onepass {
namespace {

struct TokenizeFlags {
  std::string path;
  // Of a rank file; all empty: Llama-3's.
  std::string pattern;
  std::vector<std::string> special_tokens;  // "TEXT=ID"
  std::string bos;
  std::string text;
  std::string file;
  bool has_text = false;
  bool has_file = false;
  bool ids_only = false;
  bool decode = false;
  bool json = false;
  bool special = false;
};

// "TEXT=ID".
Result<TiktokenOptions::Special> ParseSpecial(const std::string& flag) {
  const size_t equals = flag.rfind('=');
  TokenId id = -1;
  if (equals != std::string::npos && equals > 0) {
    const char* end = flag.data() + flag.size();
    const auto [stop, error] = std::from_chars(flag.data() + equals + 1, end, id);
    if (error != std::errc() || stop != end) id = -1;
  }
  if (id < 0) return InvalidArgument("want TEXT=ID, found " + Quote(flag));
  return TiktokenOptions::Special{flag.substr(0, equals), id};
}

TiktokenOptions RankOptions(const TokenizeFlags& flags) {
  TiktokenOptions options;
  options.pattern = NamedTiktokenPattern(flags.pattern);
  if (options.pattern.empty()) options.pattern = flags.pattern;
  for (const std::string& special : flags.special_tokens) {
    options.special_tokens.push_back(*ParseSpecial(special));
  }
  options.bos_token = flags.bos;
  return options;
}

// A base's folder or GGUF file, a tokenizer.json, or a tiktoken rank file (which is taken to be
// Llama-3's where the flags do not say what it is).
Result<std::unique_ptr<const Tokenizer>> LoadAnyTokenizer(const TokenizeFlags& flags) {
  const std::string& path = flags.path;
  const bool has_rank_flags =
      !flags.pattern.empty() || !flags.special_tokens.empty() || !flags.bos.empty();
  const auto load = [&](auto loader) -> Result<std::unique_ptr<const Tokenizer>> {
    if (!has_rank_flags) return loader(path);
    return InvalidArgument(
        "tokenize: --pattern, --special-token and --bos: want a tiktoken file, found another (" +
        path + ")");
  };
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return load(LoadBaseTokenizer);
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  if (GgufFile::HasMagic(file->bytes())) return load(LoadBaseTokenizer);
  const size_t first = file->text().find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || file->text()[first] == '{' || path.ends_with(".json")) {
    return load(LoadTokenizerJson);
  }
  return LoadTiktoken(path, has_rank_flags ? RankOptions(flags) : Llama3TiktokenOptions());
}

Result<std::string> ReadInput(const TokenizeFlags& flags) {
  if (flags.has_text) return flags.text;
  if (flags.has_file) return ReadFile(flags.file);
  return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
}

// Ids with spaces, commas or brackets between them.
Result<std::vector<TokenId>> ParseIds(std::string text) {
  for (char& c : text) {
    if (c == ',' || c == '[' || c == ']') c = ' ';
  }
  std::istringstream words(text);
  std::vector<TokenId> ids;
  std::string word;
  while (words >> word) {
    size_t used = 0;
    long long id = -1;
    try {
      id = std::stoll(word, &used);
    } catch (const std::exception&) {
      used = 0;
    }
    if (used != word.size() || id < 0 || id > INT32_MAX) {
      return InvalidArgument("tokenize: want token ids, found " + Quote(word));
    }
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

std::string DumpJson(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Status Tokenize(const TokenizeFlags& flags) {
  ASSIGN_OR_RETURN(const auto tokenizer, LoadAnyTokenizer(flags));
  ASSIGN_OR_RETURN(const std::string input, ReadInput(flags));
  std::string out;
  if (flags.decode) {
    ASSIGN_OR_RETURN(const std::vector<TokenId> ids, ParseIds(input));
    const std::string text = tokenizer->Decode(ids, /*skip_special=*/!flags.special);
    out = flags.json ? DumpJson({{"text", text}}) : text;
  } else {
    const std::vector<TokenId> ids = tokenizer->Encode(
        input, {.add_special_tokens = flags.special, .parse_special = flags.special});
    if (flags.json) {
      nlohmann::json pieces = nlohmann::json::array();
      for (const TokenId id : ids) pieces.push_back(tokenizer->TokenOf(id));
      out = DumpJson(flags.ids_only ? nlohmann::json{{"ids", ids}}
                                    : nlohmann::json{{"ids", ids}, {"pieces", pieces}});
    } else if (flags.ids_only) {
      for (const TokenId id : ids) out += (out.empty() ? "" : " ") + std::to_string(id);
    } else {
      for (const TokenId id : ids) {
        out += std::to_string(id) + "\t" + DumpJson(tokenizer->TokenOf(id)) + "\n";
      }
      out += std::to_string(ids.size()) + " tokens";
    }
  }
  if (!flags.decode || flags.json) out += "\n";
  if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size() || std::fflush(stdout) != 0) {
    return IoError("tokenize: want to write the output, found standard output closed or full");
  }
  return Status::Ok();
}

}  // namespace

void AddTokenizeCommand(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* command = app.add_subcommand("tokenize", "Text to token ids and pieces, and back");
  command
      ->add_option("tokenizer", flags->path,
                   "Model folder, GGUF file, tokenizer.json or tiktoken file")
      ->required();
  CLI::Option* text = command->add_option("--text", flags->text, "The input itself");
  CLI::Option* file = command->add_option("--file", flags->file, "A file with the input");
  text->excludes(file);
  command->add_option("--pattern", flags->pattern,
                      "Of a tiktoken file: gpt2, cl100k, o200k, llama3 or a regular expression");
  command
      ->add_option("--special-token", flags->special_tokens,
                   "Of a tiktoken file: TEXT=ID; without these three flags it is Llama-3's")
      ->check(ParsedBy(ParseSpecial));
  command->add_option("--bos", flags->bos,
                      "Of a tiktoken file: the special token that --special puts in front");
  command->add_flag("--ids", flags->ids_only, "Print the ids only, on one line");
  command->add_flag("--decode", flags->decode, "The input is ids; print their text");
  command->add_flag("--json", flags->json, "Print one JSON object");
  command->add_flag(
      "--special", flags->special,
      "Match special tokens in the text and add the template's (decoding: show them)");
  command->callback([=] {
    flags->has_text = text->count() > 0;
    flags->has_file = file->count() > 0;
    *exit_code = ReportStatus(Tokenize(*flags));
  });
}

}  // namespace onepass
