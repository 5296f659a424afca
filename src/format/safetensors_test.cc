#include "format/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/rng.h"

namespace onepass {
namespace {

using testing::HasSubstr;

std::string Framed(const std::string& header, const std::string& data = "") {
  const uint64_t size = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + data;
}

Result<std::shared_ptr<const SafetensorsFile>> ParseSafetensors(const std::string& bytes) {
  return SafetensorsFile::Parse(std::as_bytes(std::span(bytes.data(), bytes.size())), "x");
}

std::string Info(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

struct HostileSafetensors {
  const char* what;
  std::string bytes;
  const char* message;
};

std::string Nested(int depth) {
  std::string text = R"({"a":)";
  text.append(static_cast<size_t>(depth), '[');
  return text;
}

std::vector<HostileSafetensors> HostileSafetensorsFiles() {
  const std::string f32 = Info("F32", "[1]", "[0,4]");
  const std::string one = R"({"a":)" + f32 + "}";
  std::string lying = Framed(one, "1234");
  lying[0] = 'z';
  std::string huge = Framed(one, "1234");
  huge[7] = '\x7f';
  return {
      {"empty", "", "want at least 8 bytes, found 0"},
      {"short", "1234567", "want at least 8 bytes, found 7"},
      {"header size past the end", lying, "left in the file"},
      {"header size of 2^62", huge, "want a header of at most 100000000 bytes"},
      {"no header", Framed(""), "begins with {"},
      {"space in front", Framed(" " + one, "1234"), "begins with {"},
      {"list", Framed("[]"), "begins with {"},
      {"byte order mark", Framed("\xef\xbb\xbf" + one, "1234"), "begins with {"},
      {"cut JSON", Framed(R"({"a":)"), "byte 6"},
      {"text after the object", Framed(one + "x", "1234"), "json: byte"},
      {"zeros after the object", Framed(one + std::string(2, '\0'), "1234"), "zero byte"},
      {"not UTF-8", Framed("{\"\xff\":" + f32 + "}", "1234"), "not UTF-8"},
      {"overlong UTF-8", Framed("{\"\xc0\xaf\":" + f32 + "}", "1234"), "not UTF-8"},
      {"lone surrogate", Framed(R"({"\ud800":)" + f32 + "}", "1234"), "json: byte"},
      {"deep nesting", Framed(Nested(1000000)), "nested"},
      {"tensor twice", Framed(R"({"a":)" + f32 + R"(,"a":)" + f32 + "}", "1234"),
       "key \"a\" twice in one object"},
      {"tensor twice, one escaped", Framed(R"({"a":)" + f32 + R"(,"\u0061":)" + f32 + "}", "1234"),
       "key \"a\" twice"},
      {"field twice",
       Framed(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234"),
       "key \"dtype\" twice"},
      {"metadata twice", Framed(R"({"__metadata__":{"a":"b"},"__metadata__":{}})"), "twice"},
      {"metadata not strings", Framed(R"({"__metadata__":{"a":1}})"), "want a string for \"a\""},
      {"metadata a list", Framed(R"({"__metadata__":[]})"), "want an object, found a list"},
      {"tensor not an object", Framed(R"({"a":3})"), "\"a\": want an object, found 3"},
      {"no dtype", Framed(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", "1234"), "no dtype"},
      {"no shape", Framed(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "1234"), "no shape"},
      {"no offsets", Framed(R"({"a":{"dtype":"F32","shape":[1]}})", "1234"), "no data_offsets"},
      {"dtype a number", Framed(R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", "1234"),
       "want dtype as a string"},
      {"dtype unknown", Framed("{\"a\":" + Info("F31", "[1]", "[0,4]") + "}", "1234"),
       "found \"F31\""},
      {"dtype below a byte", Framed("{\"a\":" + Info("F4", "[2]", "[0,1]") + "}", "1"),
       "found \"F4\""},
      {"shape negative", Framed("{\"a\":" + Info("F32", "[-1]", "[0,4]") + "}", "1234"),
       "want shape"},
      {"shape fractional", Framed("{\"a\":" + Info("F32", "[1.0]", "[0,4]") + "}", "1234"),
       "want shape"},
      {"shape above 2^63",
       Framed("{\"a\":" + Info("F32", "[18446744073709551615]", "[0,4]") + "}", "1234"),
       "want shape"},
      {"shape above 2^64",
       Framed("{\"a\":" + Info("F32", "[99999999999999999999999]", "[0,4]") + "}", "1234"),
       "want shape"},
      {"shape product overflows",
       Framed("{\"a\":" + Info("F32", "[4294967296,4294967296]", "[0,0]") + "}"), "overflows"},
      {"shape product overflows before a zero",
       Framed("{\"a\":" + Info("F32", "[4611686018427387904,4,0]", "[0,0]") + "}"), "overflows"},
      {"shape times dtype overflows",
       Framed("{\"a\":" + Info("F32", "[4611686018427387904]", "[0,0]") + "}"), "overflows"},
      {"three offsets", Framed("{\"a\":" + Info("F32", "[1]", "[0,4,4]") + "}", "1234"),
       "want data_offsets"},
      {"offsets reversed", Framed("{\"a\":" + Info("F32", "[1]", "[4,0]") + "}", "1234"),
       "want data_offsets"},
      {"size lies", Framed("{\"a\":" + Info("F32", "[2]", "[0,4]") + "}", "1234"),
       "want 8 bytes for F32 [2], found 4"},
      {"data cut", Framed(one, "123"), "want data up to byte 4, found 3 bytes"},
      {"bytes left over", Framed(one, "12345"), "want 4 bytes of data, found 5"},
      {"bytes without tensors", Framed("{}", "1"), "want 0 bytes of data, found 1"},
      {"gap at the front", Framed("{\"a\":" + Info("U8", "[1]", "[1,2]") + "}", "12"),
       "gap: want data_offsets from 0, found 1"},
      {"gap between",
       Framed("{\"a\":" + Info("U8", "[1]", "[0,1]") + ",\"b\":" + Info("U8", "[1]", "[2,3]") + "}",
              "123"),
       "\"b\": gap: want data_offsets from 1, found 2"},
      {"overlap",
       Framed("{\"a\":" + Info("U8", "[2]", "[0,2]") + ",\"b\":" + Info("U8", "[2]", "[1,3]") + "}",
              "123"),
       "\"b\": overlap: want data_offsets from 2, found 1"},
      {"same bytes twice",
       Framed("{\"a\":" + Info("U8", "[1]", "[0,1]") + ",\"b\":" + Info("U8", "[1]", "[0,1]") + "}",
              "1"),
       "overlap"},
  };
}

TEST(Safetensors, HostileFilesAreRefusedInOneLine) {
  for (const HostileSafetensors& hostile : HostileSafetensorsFiles()) {
    SCOPED_TRACE(hostile.what);
    const auto file = ParseSafetensors(hostile.bytes);
    ASSERT_FALSE(file.ok());
    EXPECT_THAT(file.status().message(), HasSubstr(hostile.message));
    EXPECT_EQ(file.status().message().find('\n'), std::string::npos);
    EXPECT_LT(file.status().message().size(), 500u);
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string whole = Framed("{\"a\":" + Info("F32", "[2]", "[0,8]") + "}", "12345678");
  ASSERT_TRUE(ParseSafetensors(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ParseSafetensors(whole.substr(0, size)).ok()) << size;
  }
}

// Flipped bytes either parse to something consistent or are refused; no crash either way.
TEST(Safetensors, FlippedBytesNeverCrash) {
  const uint64_t seed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Rng rng(seed);
  const std::string whole =
      Framed("{\"a\":" + Info("F32", "[2]", "[0,8]") + ",\"b\":" + Info("U8", "[0]", "[8,8]") + "}",
             "12345678");
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = whole;
    for (uint64_t i = 0; i <= rng.Uniform(3); ++i) {
      bytes[rng.Uniform(bytes.size())] = static_cast<char>(rng.Uniform(256));
    }
    const auto file = ParseSafetensors(bytes);
    if (!file.ok()) {
      ++refused;
      continue;
    }
    for (const auto& [name, tensor] : (*file)->tensors()) {
      ASSERT_EQ(std::ssize(tensor.bytes), tensor.element_count() * SizeOf(tensor.dtype));
    }
  }
  EXPECT_GT(refused, 10000);
}

TEST(Safetensors, ReadsWhatTheFormatAllows) {
  const std::string header =
      "{\"b\":" + Info("BF16", "[]", "[8,10]") + R"(,"__metadata__":{"format":"pt"},"a":)" +
      Info("F32", "[2,1]", "[0,8]") + ",\"\":" + Info("I8", "[3,0]", "[8,8]") + "}  \n";
  const std::string bytes = Framed(header, "12345678xy");
  const auto file = ParseSafetensors(bytes);
  ASSERT_TRUE(file.ok()) << file.status().message();
  const auto& tensors = (*file)->tensors();
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors.at("a").shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(std::memcmp(tensors.at("a").bytes.data(), "12345678", 8), 0);
  EXPECT_EQ(tensors.at("b").element_count(), 1);
  EXPECT_EQ(std::memcmp(tensors.at("b").bytes.data(), "xy", 2), 0);
  EXPECT_EQ(tensors.at("").element_count(), 0);
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  EXPECT_TRUE(ParseSafetensors(Framed("{}")).ok());
}

std::string FromBase64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int bit_count = 0;
  for (char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(digits.find(c));
    bit_count += 6;
    if (bit_count >= 8) bytes += static_cast<char>(bits >> (bit_count -= 8) & 255);
  }
  return bytes;
}

// The verdicts of the reference library, saved by tools/make_goldens_safetensors.py.
TEST(SafetensorsGolden, NeverLaxerThanTheReference) {
  const auto text = ReadFile(ONEPASS_SOURCE_DIR "/tests/golden/safetensors/verdicts.json");
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto verdicts = nlohmann::json::parse(*text);
  ASSERT_GT(verdicts.size(), 100u);
  for (const auto& verdict : verdicts) {
    const auto file = ParseSafetensors(FromBase64(verdict["bytes"]));
    EXPECT_EQ(file.ok(), verdict["ours"].get<bool>())
        << verdict["what"] << ": " << (file.ok() ? "taken" : file.status().message());
    EXPECT_TRUE(!file.ok() || verdict["reference"].get<bool>()) << verdict["what"];
  }
}

TEST(SafetensorsGolden, ReadsAFileOfTheReference) {
  const auto file =
      SafetensorsFile::Open(ONEPASS_SOURCE_DIR "/tests/golden/safetensors/mixed.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->metadata().at("maker"), "reference");
  const std::vector<double> want = {0, 1, -2.5, 65504, 0x1p-24, -0.0};
  for (const char* name : {"double", "single", "half"}) {
    const RawTensor& tensor = (*file)->tensors().at(name);
    EXPECT_EQ(tensor.shape, (std::vector<int64_t>{2, 3}));
    std::vector<double> values(6);
    ConvertTo(tensor, 0, 6, values.data());
    EXPECT_EQ(values, want) << name;
  }
  EXPECT_EQ((*file)->tensors().at("int").dtype, DType::kI64);
  EXPECT_EQ((*file)->tensors().at("empty").shape, (std::vector<int64_t>{0, 3}));
}

class SafetensorsFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-safetensors-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    path_ = dir_ + "/x.safetensors";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string dir_;
  std::string path_;
};

TEST_F(SafetensorsFiles, WhatIsWrittenReadsBack) {
  const std::vector<float> a = {1, -2.5f, 3, 4, 5, 6};
  const std::vector<uint16_t> b = {1, 2, 3};
  const std::vector<NamedTensor> tensors = {
      {"z \"quoted\" \xc3\xa9", {DType::kF32, {2, 3}, std::as_bytes(std::span(a))}},
      {"b", {DType::kBF16, {3}, std::as_bytes(std::span(b))}},
      {"empty", {DType::kF16, {0, 7}, {}}},
  };
  ASSERT_TRUE(WriteSafetensors(path_, tensors, {{"maker", "x"}}).ok());
  const auto file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->name(), path_);
  EXPECT_EQ((*file)->metadata(),
            (std::map<std::string, std::string>{{"format", "pt"}, {"maker", "x"}}));
  for (const NamedTensor& want : tensors) {
    const RawTensor& found = (*file)->tensors().at(want.name);
    EXPECT_EQ(found.dtype, want.tensor.dtype);
    EXPECT_EQ(found.shape, want.tensor.shape);
    EXPECT_TRUE(std::ranges::equal(found.bytes, want.tensor.bytes));
  }
  // The first tensor's bytes are aligned in the file.
  const auto text = ReadFile(path_);
  uint64_t header_bytes;
  std::memcpy(&header_bytes, text->data(), 8);
  EXPECT_EQ(header_bytes % 8, 0u);
}

TEST_F(SafetensorsFiles, WriterRefusesBadNames) {
  const std::vector<TensorHeader> twice = {{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}};
  EXPECT_THAT(SafetensorsWriter::Create(path_, twice, {}).status().message(), HasSubstr("twice"));
  const std::vector<TensorHeader> latin = {{"\xe9", DType::kF32, {1}}};
  EXPECT_THAT(SafetensorsWriter::Create(path_, latin, {}).status().message(), HasSubstr("UTF-8"));
  const std::vector<TensorHeader> metadata = {{"__metadata__", DType::kF32, {1}}};
  EXPECT_FALSE(SafetensorsWriter::Create(path_, metadata, {}).ok());
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

TEST_F(SafetensorsFiles, FullDiskLeavesNothing) {
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::vector<float> values(10000);
  const NamedTensor tensor = {"a", {DType::kF32, {10000}, std::as_bytes(std::span(values))}};
  const Status status = WriteSafetensors(path_, {&tensor, 1}, {});
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), HasSubstr(path_));
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

TEST_F(SafetensorsFiles, MissingFileIsNotFound) {
  EXPECT_EQ(SafetensorsFile::Open(path_).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace onepass
