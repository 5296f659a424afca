// The single steps of a decoder, each made from its options.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tokenizer/decoder.h"
#include "tokenizer/metaspace.h"
#include "tokenizer/pattern.h"

namespace onepass {

std::unique_ptr<const DecoderStep> MakeByteLevelDecoder();
std::unique_ptr<const DecoderStep> MakeByteFallbackDecoder();
std::unique_ptr<const DecoderStep> MakeFuseDecoder();
std::unique_ptr<const DecoderStep> MakeReplaceDecoder(Pattern pattern, std::string content);
// Takes up to `start` and `stop` characters `content` from a token's ends.
std::unique_ptr<const DecoderStep> MakeStripDecoder(std::string content, int64_t start,
                                                    int64_t stop);
std::unique_ptr<const DecoderStep> MakeMetaspaceDecoder(MetaspaceOptions options);
// Ends of words become spaces, but for the last token's.
std::unique_ptr<const DecoderStep> MakeBpeDecoder(std::string suffix);

}  // namespace onepass
