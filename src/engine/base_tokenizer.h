// The tokenizer that comes with a base: tokenizer.json of a folder, or the metadata of a GGUF file.
#pragma once

#include <memory>
#include <string>

#include "core/status.h"
#include "format/gguf.h"
#include "model/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace onepass {

// path: a base's folder or its GGUF file.
Result<std::unique_ptr<const Tokenizer>> LoadBaseTokenizer(const std::string& path);

// Of a base that is open: its file is not read again.
Result<std::unique_ptr<const Tokenizer>> TokenizerOf(const Checkpoint& checkpoint);

Result<std::unique_ptr<const Tokenizer>> GgufTokenizer(const GgufFile& file);

}  // namespace onepass
