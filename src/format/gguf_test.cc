#include "format/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/rng.h"
#include "format/gguf_builder_for_test.h"

namespace onepass {
namespace {

using testing::HasSubstr;

Result<std::shared_ptr<const GgufFile>> ParseGguf(const std::string& bytes) {
  return GgufFile::Parse(BytesOf(bytes), "x");
}

constexpr auto kF32 = static_cast<uint32_t>(BlockType::kF32);

GgufBuilder OneTensor() {
  GgufBuilder builder;
  builder.Text("general.architecture", "llama").U32("general.alignment", 32);
  builder.Texts("names", {"a", "", "c"});
  builder.List<float>("scores", GgufKind::kF32, {1, -2.5f});
  builder.Tensor("a", BlockType::kF32, {2, 1}, "12345678");
  builder.Tensor("b", BlockType::kQ8_0, {32}, std::string(34, 'x'));
  return builder;
}

TEST(Gguf, ReadsValuesAndTensors) {
  for (const uint32_t version : {2u, 3u}) {
    GgufBuilder builder = OneTensor();
    builder.version = version;
    const std::string bytes = builder.Build();
    const auto file = ParseGguf(bytes);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ((*file)->version(), version);
    EXPECT_EQ((*file)->alignment(), 32);
    EXPECT_EQ((*file)->Text("general.architecture").value(), "llama");
    const std::array texts = {GgufKind::kString};
    const GgufArray* names = (*file)->Array("names", texts).value();
    ASSERT_NE(names, nullptr);
    EXPECT_EQ(names->strings, (std::vector<std::string_view>{"a", "", "c"}));
    const std::array floats = {GgufKind::kI32, GgufKind::kF32};
    const GgufArray* scores = (*file)->Array("scores", floats).value();
    ASSERT_EQ(scores->count, 2);
    EXPECT_EQ(scores->Number(1), -2.5);
    const BlockTensor& a = (*file)->tensors().at("a");
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 1}));
    EXPECT_EQ(std::memcmp(a.bytes.data(), "12345678", 8), 0);
    const BlockTensor& b = (*file)->tensors().at("b");
    EXPECT_EQ(b.type, BlockType::kQ8_0);
    EXPECT_EQ(b.bytes.size(), 34u);
    EXPECT_EQ(b.row_bytes(), 34);
  }
}

TEST(Gguf, EveryKindOfNumberKeepsItsValue) {
  GgufBuilder builder;
  builder.Value("u8", GgufKind::kU8, "\xff");
  builder.Value("i8", GgufKind::kI8, "\xff");
  builder.Value("u16", GgufKind::kU16, "\xff\xff");
  builder.Value("i16", GgufKind::kI16, "\xff\xff");
  builder.Value("u32", GgufKind::kU32, "\xff\xff\xff\xff");
  builder.Value("i32", GgufKind::kI32, "\xff\xff\xff\xff");
  builder.Value("u64", GgufKind::kU64, std::string(8, '\xff'));
  builder.Value("i64", GgufKind::kI64, std::string(8, '\xff'));
  builder.Value("f64", GgufKind::kF64, GgufBytes().Put(0.1).text());
  builder.Bool("yes", true);
  const std::string bytes = builder.Build();
  const auto file = ParseGguf(bytes);
  ASSERT_TRUE(file.ok()) << file.status().message();
  const int64_t low = std::numeric_limits<int64_t>::min();
  const int64_t high = std::numeric_limits<int64_t>::max();
  EXPECT_EQ((*file)->Integer("u8", low, high).value(), 255);
  EXPECT_EQ((*file)->Integer("i8", low, high).value(), -1);
  EXPECT_EQ((*file)->Integer("u16", low, high).value(), 65535);
  EXPECT_EQ((*file)->Integer("i16", low, high).value(), -1);
  EXPECT_EQ((*file)->Integer("u32", low, high).value(), 4294967295);
  EXPECT_EQ((*file)->Integer("i32", low, high).value(), -1);
  EXPECT_EQ((*file)->Integer("i64", low, high).value(), -1);
  EXPECT_EQ((*file)->Integer("none", low, high).value(), std::nullopt);
  EXPECT_EQ((*file)->Number("f64").value(), 0.1);
  EXPECT_EQ((*file)->Bool("yes").value(), true);
  EXPECT_EQ((*file)->Integer("u64", low, high).status().message(),
            "gguf: \"u64\": want a whole number from -9223372036854775808 to "
            "9223372036854775807, found 18446744073709551615 (x)");
  EXPECT_EQ((*file)->Bool("u8").status().message(),
            "gguf: \"u8\": want true or false, found 255 (x)");
  EXPECT_EQ((*file)->Text("f64").status().message(), "gguf: \"f64\": want a string, found 0.1 (x)");
  EXPECT_FALSE((*file)->Number("u8").ok());
}

TEST(Gguf, ShortFloatsMeanTheirDecimals) {
  GgufBuilder builder;
  builder.F32("eps", 1e-5f).F32("theta", 1e6f).F32("inf", INFINITY);
  const std::string bytes = builder.Build();
  const auto file = ParseGguf(bytes);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->Number("eps").value(), 1e-5);
  EXPECT_EQ((*file)->Number("theta").value(), 1e6);
  EXPECT_EQ((*file)->Number("inf").value(), INFINITY);
}

TEST(Gguf, OtherAlignmentsMoveTheData) {
  GgufBuilder builder;
  builder.alignment = 128;
  builder.U32("general.alignment", 128);
  builder.Tensor("a", BlockType::kF32, {1}, "1234").Tensor("b", BlockType::kF16, {1}, "ab");
  const std::string bytes = builder.Build();
  const auto file = ParseGguf(bytes);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->alignment(), 128);
  EXPECT_EQ(std::memcmp((*file)->tensors().at("b").bytes.data(), "ab", 2), 0);
}

TEST(Gguf, AFileMayHoldAVocabularyOnly) {
  GgufBuilder builder;
  builder.Texts("tokenizer.ggml.tokens", {"a"});
  EXPECT_TRUE(ParseGguf(builder.Build()).ok());
  EXPECT_TRUE(ParseGguf(GgufBuilder().Build()).ok());
}

struct Hostile {
  const char* what;
  std::string bytes;
  const char* message;
};

std::string Replaced(std::string text, size_t at, std::string_view bytes) {
  return text.replace(at, bytes.size(), bytes);
}

std::vector<Hostile> HostileFiles() {
  const std::string good = OneTensor().Build();
  const std::string huge(8, '\x7f');
  GgufBuilder builder;
  const auto tensor = [](std::vector<int64_t> shape, uint64_t offset, uint32_t type = kF32) {
    return GgufBuilder().TensorAt("a", type, shape, offset).Data(std::string(64, 'x')).Build();
  };
  const auto two = [](uint64_t first, uint64_t second) {
    return GgufBuilder()
        .TensorAt("a", kF32, {16}, first)
        .TensorAt("b", kF32, {1}, second)
        .Data(std::string(128, 'x'))
        .Build();
  };
  const auto value = [](GgufKind kind, const std::string& bytes) {
    return GgufBuilder().Value("k", kind, bytes).Build();
  };
  const auto list = [](uint32_t kind, uint64_t count, const std::string& rest) {
    return GgufBytes().Put(kind).Put(count).Raw(rest).text();
  };
  const std::string no_key = GgufBuilder().U32("", 1).Build();
  return {
      {"empty", "", "begins with \"GGUF\", found \"\""},
      {"other magic", Replaced(good, 0, "ggml"), "found \"ggml\""},
      {"magic only", "GGUF", "version: want 4 bytes at byte 4, found 0 bytes left"},
      {"version 1", Replaced(good, 4, std::string("\1\0\0\0", 4)), "want 2 or 3"},
      {"version 4", Replaced(good, 4, std::string("\4\0\0\0", 4)), "found 4 (x)"},
      {"big-endian", Replaced(good, 4, std::string("\0\0\0\3", 4)), "(big-endian?)"},
      {"tensor count", Replaced(good, 8, huge), "tensor count: want at most"},
      {"value count", Replaced(good, 16, huge), "value count: want at most"},
      {"key size", Replaced(good, 24, huge), "want a string of at most 65535 bytes"},
      {"empty key", no_key, "value 0: want a name in UTF-8, found \"\""},
      {"key not UTF-8", GgufBuilder().U32("\xff", 1).Build(), "want a name in UTF-8"},
      {"key twice", GgufBuilder().U32("k", 1).U32("k", 2).Build(), "\"k\": the key stands twice"},
      {"unknown kind", value(static_cast<GgufKind>(13), "1234"), "kind of value from 0 to 12"},
      {"boolean 2", value(GgufKind::kBool, "\2"), "want a boolean, 0 or 1, found 2"},
      {"cut number", value(GgufKind::kU64, "1234"), "want 8 bytes at byte"},
      {"string past the end", value(GgufKind::kString, GgufBytes().Put<uint64_t>(99).text()),
       "want a string of 99 bytes"},
      {"string of 2^64 - 1", value(GgufKind::kString, std::string(8, '\xff')),
       "found 18446744073709551615"},
      {"list of lists", value(GgufKind::kArray, list(9, 1, list(0, 1, "1"))), "a list of lists"},
      {"list of unknown kind", value(GgufKind::kArray, list(77, 1, "1")), "from 0 to 12, found 77"},
      {"list past the end", value(GgufKind::kArray, list(4, 2, "1234")), "want at most 1 in"},
      {"list of 2^61 numbers", value(GgufKind::kArray, list(10, uint64_t{1} << 61, "12345678")),
       "want at most 1 in"},
      {"list of many strings", value(GgufKind::kArray, list(8, uint64_t{1} << 60, "")),
       "want at most 0 in"},
      {"list with a cut string", value(GgufKind::kArray, list(8, 1, std::string(8, '\1'))),
       "\"k\": want a string"},
      {"list with boolean 2", value(GgufKind::kArray, list(7, 1, "\2")), "want booleans"},
      {"alignment 0", GgufBuilder().U32("general.alignment", 0).Build(), "want a power of two"},
      {"alignment 24", GgufBuilder().U32("general.alignment", 24).Build(), "found 24"},
      {"alignment 2^20", GgufBuilder().U32("general.alignment", 1 << 20).Build(), "at most 65536"},
      {"alignment a string", GgufBuilder().Text("general.alignment", "32").Build(), "found \"32\""},
      {"name of 65 bytes", GgufBuilder().TensorAt(std::string(65, 'n'), kF32, {1}, 0).Build(),
       "want a string of at most 64 bytes, found 65"},
      {"tensor twice",
       GgufBuilder()
           .Tensor("a", BlockType::kF32, {1}, "1234")
           .Tensor("a", BlockType::kF32, {1}, "1234")
           .Build(),
       "\"a\": the tensor stands twice"},
      {"five dimensions", tensor({1, 1, 1, 1, 1}, 0), "want at most 4 dimensions, found 5"},
      {"dimension above 2^63", tensor({-1}, 0), "want dimensions below 2^63"},
      {"shape overflows", tensor({int64_t{1} << 32, int64_t{1} << 32}, 0), "the shape overflows"},
      {"shape overflows before a zero", tensor({int64_t{1} << 62, 4, 0}, 0), "overflows"},
      {"shape times type overflows", tensor({int64_t{1} << 62}, 0), "the shape times F32"},
      {"unknown type", tensor({1}, 0, 4), "want a known type of blocks, found number 4"},
      {"type 2^32 - 1", tensor({1}, 0, ~uint32_t{0}), "found number 4294967295"},
      {"part of a block", tensor({33}, 0, 8), "want rows of whole Q8_0 blocks of 32"},
      {"rows of parts of a block", tensor({32, 1}, 0, 8), "found rows of 1"},
      {"unaligned", tensor({1}, 4), "want an offset that is a multiple of the alignment, 32"},
      {"behind the end", tensor({1}, 64), "want 4 bytes of data from 64, found 64 in all"},
      {"offset near 2^64", tensor({1}, ~uint64_t{31}), "want 4 bytes of data from 1844"},
      {"past the end", tensor({17}, 0), "want 68 bytes of data from 0, found 64"},
      {"same bytes", two(0, 0), "overlap: want an offset from 4, behind \"b\", found 0"},
      {"inside", two(0, 32), "\"b\": overlap: want an offset from 64, behind \"a\", found 32"},
      {"no data", GgufBuilder().TensorAt("a", kF32, {1}, 0).Build(), "found 0 in all"},
  };
}

TEST(Gguf, HostileFilesAreRefusedInOneLine) {
  for (const Hostile& hostile : HostileFiles()) {
    SCOPED_TRACE(hostile.what);
    const auto file = ParseGguf(hostile.bytes);
    ASSERT_FALSE(file.ok());
    EXPECT_THAT(file.status().message(), HasSubstr(hostile.message));
    EXPECT_THAT(file.status().message(), testing::EndsWith("(x)"));
    EXPECT_EQ(file.status().message().find('\n'), std::string::npos);
    EXPECT_LT(file.status().message().size(), 500u);
  }
}

TEST(Gguf, EveryTruncationIsRefused) {
  const std::string whole = OneTensor().Build();
  ASSERT_TRUE(ParseGguf(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ParseGguf(whole.substr(0, size)).ok()) << size;
  }
}

// Flipped bytes either parse to something consistent or are refused; no crash either way.
TEST(Gguf, FlippedBytesNeverCrash) {
  const uint64_t seed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Rng rng(seed);
  const std::string whole = OneTensor().Build();
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = whole;
    for (uint64_t i = 0; i <= rng.Uniform(3); ++i) {
      bytes[rng.Uniform(bytes.size())] = static_cast<char>(rng.Uniform(256));
    }
    const auto file = ParseGguf(bytes);
    if (!file.ok()) {
      ++refused;
      continue;
    }
    for (const auto& [name, tensor] : (*file)->tensors()) {
      const BlockFormat& format = FormatOf(tensor.type);
      ASSERT_EQ(std::ssize(tensor.bytes), tensor.element_count() / format.elements * format.bytes);
    }
  }
  EXPECT_GT(refused, 5000);
}

TEST(Gguf, MissingFileIsNotFound) {
  EXPECT_EQ(GgufFile::Open(testing::TempDir() + "/none.gguf").status().code(),
            StatusCode::kNotFound);
}

}  // namespace
}  // namespace onepass
