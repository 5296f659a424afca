// `onepass index` as a user meets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "program.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::MatchesRegex;

constexpr char kDocuments[] =
    R"({"id": "a", "title": "Harbours", "text": "The old\nharbour \u001b[31mof the town"}
{"id": 7, "text": "A sailor keeps a parrot"}

{"id": "c", "text": "Ships leave the harbour at dawn", "title": null, "more": [1]}
)";

class IndexCommand : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-index-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    Put("docs.jsonl", kDocuments);
  }
  void TearDown() override { fs::remove_all(dir_); }

  void Put(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << text;
  }
  // `onepass index ARGUMENTS` in the folder.
  Outcome Index(const std::string& arguments) const {
    return RunShell("cd '" + dir_ + "' && '" ONEPASS_BINARY "' index " + arguments);
  }
  void ExpectFault(const std::string& arguments, const std::string& message) const {
    const Outcome outcome = Index(arguments);
    EXPECT_EQ(outcome.exit_code, 1) << arguments;
    EXPECT_EQ(outcome.output, "onepass: " + message + "\n");
  }

  std::string dir_;
};

TEST_F(IndexCommand, BuildsAndSearches) {
  const Outcome built = Index("build --input docs.jsonl --out new/index");
  EXPECT_EQ(built.exit_code, 0);
  EXPECT_THAT(built.output, MatchesRegex("new/index: 3 documents, 18 words, [0-9]+ bytes\n"));

  const Outcome table = Index("search new/index --query 'HARBOUR of town'");
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_THAT(table.output,
              MatchesRegex("rank +score  id  text\n"
                           "   1 +[0-9.]+  a   Harbours: The old harbour \\[31mof the town\n"
                           "   2 +[0-9.]+  c   Ships leave the harbour at dawn\n"));

  const Outcome lines = Index("search new/index --query 'harbour parrot' --json --top 2");
  EXPECT_EQ(lines.exit_code, 0);
  std::istringstream stream(lines.output);
  std::string line;
  ASSERT_TRUE(std::getline(stream, line));
  const json first = json::parse(line);
  EXPECT_EQ(first["rank"], 1);
  EXPECT_EQ(first["id"], "7");
  EXPECT_GT(first["score"], 0);
  EXPECT_EQ(first["title"], "");
  EXPECT_EQ(first["text"], "A sailor keeps a parrot");
  ASSERT_TRUE(std::getline(stream, line));
  EXPECT_EQ(json::parse(line)["rank"], 2);
  EXPECT_FALSE(std::getline(stream, line));
}

TEST_F(IndexCommand, WithoutHitsIsNoFault) {
  ASSERT_EQ(Index("build --input docs.jsonl --out index").exit_code, 0);
  const Outcome table = Index("search index --query 'AND \"'");
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_EQ(table.output, "no document holds a word of the query\n");
  const Outcome lines = Index("search index --query nothing --json");
  EXPECT_EQ(lines.exit_code, 0);
  EXPECT_EQ(lines.output, "");
}

TEST_F(IndexCommand, FieldsStemAndWeightsAreFlags) {
  Put("docs.json", R"([{"n": 1, "body": "running dogs", "head": "x"}, {"n": 2, "body": "cats"}])");
  ASSERT_EQ(Index("build --input docs.json --out index --id-field n --text-field body "
                  "--title-field head --stem english --k1 0.5 --b 0")
                .exit_code,
            0);
  const auto score = [&](const std::string& flags) {
    const Outcome outcome = Index("search index --json --query 'run X' " + flags);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    const json hit = json::parse(outcome.output);
    EXPECT_EQ(hit["id"], "1");
    EXPECT_EQ(hit["title"], "x");
    return hit["score"].get<double>();
  };
  EXPECT_EQ(score(""), score("--k1 0.5 --b 0"));
  EXPECT_GT(score(""), score("--k1 0.5 --b 1"));  // the longer of the two
  std::ifstream manifest(dir_ + "/index/bm25.json");
  EXPECT_EQ(json::parse(manifest)["stem"], "english");
}

TEST_F(IndexCommand, AFaultNamesThePlaceAndLeavesNothing) {
  Put("twice.jsonl", "{\"id\": \"x\", \"text\": \"a\"}\n\n{\"id\": \"x\", \"text\": \"b\"}\n");
  ExpectFault("build --input twice.jsonl --out index",
              "twice.jsonl: document 2 (line 3): want an id of its own, found \"x\" again, of "
              "document 1 (line 1)");
  ExpectFault("build --input docs.jsonl --out index --text-field body",
              "docs.jsonl: record 1 (line 1): want field \"body\", found only \"id\", \"title\", "
              "\"text\"");
  Put("empty.jsonl", "\n");
  ExpectFault("build --input empty.jsonl --out index",
              "index index: want a document at least, found none");
  Put("broken.jsonl", "{\"id\": \"x\", \"text\": \"a\"}\n{\"id\": ");
  EXPECT_EQ(Index("build --input broken.jsonl --out index").exit_code, 1);
  EXPECT_EQ(Index("build --input none.jsonl --out index").exit_code, 1);
  EXPECT_EQ(Index("build --input docs.jsonl --out docs.jsonl").exit_code, 1);
  for (const auto& entry : fs::directory_iterator(dir_)) {
    EXPECT_TRUE(entry.is_regular_file()) << entry.path();
  }
  ExpectFault("search index --query x", "index index: want an index's folder, found none");
}

TEST_F(IndexCommand, ADamagedIndexIsOneLine) {
  ASSERT_EQ(Index("build --input docs.jsonl --out index").exit_code, 0);
  const std::string data = dir_ + "/index/bm25.glass";
  const auto size = fs::file_size(data);
  fs::resize_file(data, size - 1);
  ExpectFault("search index --query x", "index index: bm25.glass: want " + std::to_string(size) +
                                            " bytes, found " + std::to_string(size - 1));
}

TEST_F(IndexCommand, ClosedOutputIsAFault) {
  ASSERT_EQ(Index("build --input docs.jsonl --out index").exit_code, 0);
  EXPECT_EQ(Index("search index --query harbour >/dev/full").exit_code, 1);
  EXPECT_EQ(Index("build --input docs.jsonl --out index >/dev/full").exit_code, 1);
}

}  // namespace
}  // namespace onepass
