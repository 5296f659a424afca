// The tokenizer that comes with a base: a folder's tokenizer.json, or where there is none its
// tokenizer.model, tiktoken's ranks with Llama-3's pattern and special tokens; or the metadata of a
// GGUF file.
#pragma once

#include <memory>
#include <string>

#include "core/status.h"
#include "format/gguf.h"
#include "model/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// The file of a folder's tokenizer; empty where there is none.
std::string FolderTokenizerPath(const std::string& dir);

// path: a base's folder or its GGUF file.
Result<std::unique_ptr<const Tokenizer>> LoadBaseTokenizer(const std::string& path);

// Of a base that is open: its file is not read again.
Result<std::unique_ptr<const Tokenizer>> TokenizerOf(const Checkpoint& checkpoint);

Result<std::unique_ptr<const Tokenizer>> GgufTokenizer(const GgufFile& file);

}  // namespace onepass
