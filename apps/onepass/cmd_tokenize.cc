// onepass tokenize: text to ids and pieces, and back.
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
#include "tokenizer/tokenizer.h"

namespace onepass {
namespace {

struct TokenizeFlags {
  std::string path;
  std::string text;
  std::string file;
  bool has_text = false;
  bool has_file = false;
  bool ids_only = false;
  bool decode = false;
  bool json = false;
  bool special = false;
};

// A model folder, a tokenizer.json, or a tiktoken rank file (which is taken to be Llama-3's).
Result<std::unique_ptr<const Tokenizer>> LoadAnyTokenizer(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return LoadTokenizerJson(path + "/tokenizer.json");
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const size_t first = file->text().find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || file->text()[first] == '{' || path.ends_with(".json")) {
    return LoadTokenizerJson(path);
  }
  return LoadTiktoken(path, Llama3TiktokenOptions());
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
  ASSIGN_OR_RETURN(const auto tokenizer, LoadAnyTokenizer(flags.path));
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
  command->add_option("tokenizer", flags->path, "Model folder, tokenizer.json or tiktoken file")
      ->required();
  CLI::Option* text = command->add_option("--text", flags->text, "The input itself");
  CLI::Option* file = command->add_option("--file", flags->file, "A file with the input");
  text->excludes(file);
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
