// Indexes that are damaged, foreign or absent: one line that says what was wanted and found.
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "core/hash.h"
#include "retrieval/index_for_test.h"
#include "retrieval/manifest.h"
#include "retrieval/stored_document.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class DamagedIndex : public IndexTest {
 protected:
  void SetUp() override {
    IndexTest::SetUp();
    Build("index", {"red fox", "owl", "a red elk"});
    manifest_ = json::parse(Get("index/bm25.json"));
    data_ = Get("index/bm25.glass");
  }
  // What opening says, without "index PATH: ".
  std::string Fault(const std::string& name = "index") const {
    const auto index = Bm25Index::Open(At(name));
    if (index.ok()) return "(none)";
    const std::string& message = index.status().message();
    const std::string place = "index " + At(name) + ": ";
    EXPECT_THAT(message, StartsWith(place));
    EXPECT_EQ(message.find('\n'), std::string::npos);
    return message.substr(place.size());
  }
  std::string FaultOf(const json& manifest) const {
    Put("index/bm25.json", manifest.dump());
    return Fault();
  }
  std::string FaultWith(const char* key, const json& value) const {
    json manifest = manifest_;
    manifest[key] = value;
    return FaultOf(manifest);
  }
  // Puts `data` there with a manifest that fits its size and checksum.
  std::string FaultOfData(const std::string& data) const {
    Put("index/bm25.glass", data);
    json manifest = manifest_;
    manifest["data_bytes"] = data.size();
    manifest["data_hash"] = HexDigits(HashText(data));
    return FaultOf(manifest);
  }

  json manifest_;
  std::string data_;
};

TEST_F(DamagedIndex, WhatIsMissingIsNamed) {
  EXPECT_EQ(Fault("none"), "want an index's folder, found none");
  EXPECT_EQ(Bm25Index::Open(At("none")).status().code(), StatusCode::kNotFound);
  Put("file", "x");
  EXPECT_EQ(Fault("file"), "want an index's folder, found a file");
  fs::create_directory(At("empty"));
  EXPECT_EQ(Fault("empty"), "bm25.json: want an index's manifest, found none");
  fs::remove(At("index/bm25.glass"));
  EXPECT_EQ(Fault(), "bm25.glass: want the index's data, found none");
  fs::create_directory(At("index/bm25.glass"));
  EXPECT_EQ(Fault(), "bm25.glass: want a file, found something else");
}

TEST_F(DamagedIndex, TruncationAndGrowthAreFound) {
  const std::string wanted = "bm25.glass: want " + std::to_string(data_.size()) + " bytes, found ";
  for (const size_t size : {size_t{0}, size_t{1}, data_.size() / 2, data_.size() - 1}) {
    Put("index/bm25.glass", data_.substr(0, size));
    EXPECT_EQ(Fault(), wanted + std::to_string(size));
  }
  Put("index/bm25.glass", data_ + "x");
  EXPECT_EQ(Fault(), wanted + std::to_string(data_.size() + 1));
}

TEST_F(DamagedIndex, EveryFlippedBitOfTheDataIsFound) {
  for (size_t at = 0; at < data_.size(); at += 97) {
    std::string data = data_;
    data[at] = static_cast<char>(data[at] ^ (1 << at % 8));
    Put("index/bm25.glass", data);
    EXPECT_THAT(Fault(), StartsWith("bm25.glass: want the checksum ")) << at;
  }
  Put("index/bm25.glass", data_);
  EXPECT_EQ(Fault(), "(none)");
}

TEST_F(DamagedIndex, NoFlippedBitOfTheManifestIsFatal) {
  const std::string text = Get("index/bm25.json");
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string changed = text;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    Put("index/bm25.json", changed);
    // Some flips are another number for k1 or b, or other white space: as good as any.
    (void)Fault();
  }
  for (size_t size = 0; size + 2 < text.size(); ++size) {
    Put("index/bm25.json", text.substr(0, size));
    EXPECT_THAT(Fault(), StartsWith("bm25.json: want JSON, found "));
  }
}

TEST_F(DamagedIndex, AManifestIsReadStrictly) {
  const auto file_fault = [&](const std::string& text) {
    Put("index/bm25.json", text);
    return Fault();
  };
  EXPECT_EQ(file_fault("[]"), "bm25.json: want an object, found a list");
  EXPECT_THAT(file_fault("{}"), HasSubstr("want \"format\": \"onepass-bm25\", found another"));
  EXPECT_THAT(file_fault(std::string("{}\0", 3)), HasSubstr("a zero byte"));
  EXPECT_THAT(file_fault(std::string(70'000, ' ')), HasSubstr("want at most 65536 bytes"));
  EXPECT_THAT(file_fault(std::string(30'000, '[')), HasSubstr("want JSON"));
  std::string twice = manifest_.dump();
  twice.insert(1, R"("k1": 2, )");
  EXPECT_EQ(file_fault(twice), "bm25.json: want each key once, found \"k1\" twice");

  EXPECT_EQ(FaultWith("version", 2), "bm25.json: \"version\": want 1, found 2");
  EXPECT_EQ(Bm25Index::Open(At("index")).status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(FaultWith("version", "1"), "bm25.json: \"version\": want 1, found \"1\"");
  EXPECT_EQ(FaultWith("documents", -1),
            "bm25.json: \"documents\": want a whole number, 0 or more, found -1");
  EXPECT_THAT(FaultWith("words", 1.5), HasSubstr("\"words\": want a whole number"));
  EXPECT_THAT(FaultWith("words", 1e300), HasSubstr("\"words\": want a whole number"));
  EXPECT_EQ(FaultWith("k1", "x"), "bm25.json: \"k1\": want a number, found \"x\"");
  EXPECT_EQ(FaultWith("k1", -1), "bm25.json: k1: want a number from 0 to 1000, found -1");
  EXPECT_EQ(FaultWith("b", 2), "bm25.json: b: want a number from 0 to 1, found 2");
  EXPECT_EQ(FaultWith("stem", 1), "bm25.json: \"stem\": want a string, found 1");
  EXPECT_EQ(FaultWith("stem", "klingon"),
            "bm25.json: \"stem\": want a language that is known, found \"klingon\"");
  EXPECT_THAT(FaultWith("data_hash", "123"), HasSubstr("want 16 lower-case hex digits"));
  EXPECT_THAT(FaultWith("data_hash", "000000000000000G"), HasSubstr("want 16 lower-case"));
  EXPECT_EQ(FaultWith("colour", "red"),
            "bm25.json: want only the keys that it knows, found \"colour\"");
  for (const auto& [key, value] : manifest_.items()) {
    json less = manifest_;
    less.erase(key);
    EXPECT_NE(FaultOf(less), "(none)") << key;
  }
  EXPECT_EQ(FaultOf(manifest_), "(none)");
}

TEST_F(DamagedIndex, CountsMustBeThoseOfTheData) {
  EXPECT_EQ(FaultWith("documents", 4), "want 4 documents, found 3");
  EXPECT_EQ(FaultWith("words", 5), "want 5 words, found 6");
}

TEST_F(DamagedIndex, DataOfAnotherKindIsNotFollowed) {
  // A file of Xapian's that names other databases, or a program to run.
  for (const std::string text : {"auto /tmp\n", "remote :touch pwned\n", "", "IAmGlass", "x"}) {
    EXPECT_NE(FaultOfData(text), "(none)") << text;
  }
  EXPECT_NE(FaultOfData(data_.substr(0, data_.size() / 2)), "(none)");
  EXPECT_EQ(FaultOfData(data_), "(none)");
}

TEST_F(DamagedIndex, NothingStaysOpen) {
  const auto open_count = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto before = open_count();
  for (int i = 0; i < 5; ++i) {
    EXPECT_NE(FaultOfData("not a database"), "(none)");
    EXPECT_NE(FaultWith("words", 1), "(none)");
    EXPECT_EQ(FaultOfData(data_), "(none)");
    EXPECT_TRUE(BuildAt(At("other"), {{.id = "x", .text = "fox"}}).ok());
    EXPECT_FALSE(BuildAt(At("other"), {}).ok());
  }
  EXPECT_EQ(open_count(), before);
}

TEST(StoredDocument, IsUnpackedWithinItsBounds) {
  const std::string packed = PackDocument({.id = "a", .title = "bc", .text = "def"});
  const auto document = UnpackDocument(packed);
  ASSERT_TRUE(document.has_value());
  EXPECT_EQ(document->id, "a");
  EXPECT_EQ(document->title, "bc");
  EXPECT_EQ(document->text, "def");
  EXPECT_TRUE(UnpackDocument(PackDocument({})).has_value());
  for (size_t size = 0; size < packed.size() - 3; ++size) {
    EXPECT_FALSE(UnpackDocument(packed.substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(UnpackDocument(std::string(8, '\xff') + "abc").has_value());
}

TEST(FileDigest, IsTheChainedHashOfBlocks) {
  const std::string path = testing::TempDir() + "onepass-digest";
  const std::string text(3'000'000, 'x');
  ASSERT_TRUE(WriteFileAtomically(path, text).ok());
  FILE* file = std::fopen(path.c_str(), "rb");
  ASSERT_NE(file, nullptr);
  const auto digest = DigestFile(fileno(file));
  std::fclose(file);
  fs::remove(path);
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(digest->bytes, 3'000'000);
  uint64_t hash = 0;
  for (size_t at = 0; at < text.size(); at += size_t{1} << 20) {
    hash = HashText(std::string_view(text).substr(at, size_t{1} << 20), hash);
  }
  EXPECT_EQ(digest->hash, hash);
}

}  // namespace
}  // namespace onepass
