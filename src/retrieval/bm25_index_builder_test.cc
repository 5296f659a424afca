#include "retrieval/bm25_index_builder.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <csignal>

#include "core/kill_for_test.h"
#include "retrieval/index_folder.h"
#include "retrieval/index_for_test.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Bm25Builder : public IndexTest {
 protected:
  static std::vector<IndexDocument> Many(int count, const std::string& word) {
    std::vector<IndexDocument> documents;
    for (int i = 0; i < count; ++i) {
      documents.push_back({.id = std::to_string(i), .text = word + " n" + std::to_string(i)});
    }
    return documents;
  }
};

TEST_F(Bm25Builder, TheFolderHasAManifestAndOneDataFile) {
  const auto index =
      Build("a/b/index/", {"one two", "three"});  // makes the folders that lead there
  EXPECT_THAT(Entries(),
              ElementsAre("a", "a/b", "a/b/index", "a/b/index/bm25.glass", "a/b/index/bm25.json"));
  EXPECT_EQ(index->facts().documents, 2);
  EXPECT_EQ(index->facts().words, 3);
  EXPECT_EQ(index->facts().bytes, static_cast<int64_t>(fs::file_size(At("a/b/index/bm25.glass"))));
}

TEST_F(Bm25Builder, IdsAreUnique) {
  const auto builder = std::move(Bm25IndexBuilder::Create(At("index"))).value();
  ASSERT_TRUE(builder->Add({.id = "x", .text = "first", .line = 3}).ok());
  EXPECT_EQ(
      builder->Add({.id = "x", .text = "second", .line = 9}).message(),
      "document 2 (line 9): want an id of its own, found \"x\" again, of document 1 (line 3)");
  // The others go on.
  ASSERT_TRUE(builder->Add({.id = "y", .text = "second"}).ok());
  EXPECT_EQ(builder->Add({.id = "y"}).message(),
            "document 4: want an id of its own, found \"y\" again, of document 3");
  ASSERT_TRUE(builder->Finish().ok());
  EXPECT_EQ(Ids(*Open("index"), "first second"), "x y");
}

TEST_F(Bm25Builder, AFaultyDocumentIsNamed) {
  const auto builder = std::move(Bm25IndexBuilder::Create(At("index"))).value();
  EXPECT_EQ(builder->Add({.text = "x", .line = 1}).message(),
            "document 1 (line 1): id: want 1 to 1024 bytes, found 0");
  EXPECT_EQ(builder->Add({.id = std::string(1025, 'x')}).message(),
            "document 2: id: want 1 to 1024 bytes, found 1025");
  EXPECT_EQ(builder->Add({.id = "\xff"}).message(),
            "document 3: id: want UTF-8, found other bytes");
  EXPECT_EQ(builder->Add({.id = "a", .text = "\xff"}).message(),
            "document 4: text: want UTF-8, found other bytes");
  EXPECT_EQ(builder->Add({.id = "a", .title = "\xff"}).message(),
            "document 5: title: want UTF-8, found other bytes");
  EXPECT_EQ(builder->Add({.id = "a", .text = std::string(kMaxDocumentBytes, 'x')}).message(),
            "document 6: want at most 33554432 bytes, found 33554433");
  EXPECT_EQ(builder->Finish().status().message(),
            "index " + At("index") + ": want a document at least, found none");
}

TEST_F(Bm25Builder, LargeDocumentsComeBackAsTheyWere) {
  // Of bytes that cannot be compressed: larger than any of the data file's blocks.
  std::vector<IndexDocument> documents;
  uint32_t state = 1;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{8000}, size_t{100'000}, size_t{3} << 20}) {
    std::string text = size == 0 ? "" : "x";
    while (text.size() < size) {
      state = state * 1664525 + 1013904223;
      text.push_back(static_cast<char>(' ' + (state >> 24) % 94));
    }
    documents.push_back({.id = std::to_string(size), .text = text, .title = "every"});
  }
  ASSERT_TRUE(BuildAt(At("index"), documents).ok());
  const auto hits = Open("index")->Search("every");
  ASSERT_TRUE(hits.ok()) << hits.status().message();
  ASSERT_EQ(hits->size(), documents.size());
  for (const Hit& hit : *hits) {
    const auto it = std::ranges::find(documents, hit.id, &IndexDocument::id);
    EXPECT_TRUE(hit.text == it->text) << hit.id;
    EXPECT_EQ(hit.title, "every");
  }
}

TEST_F(Bm25Builder, BuildingAgainReplacesAndAnswersTheSame) {
  const std::vector<IndexDocument> documents = Many(50, "fox");
  ASSERT_TRUE(BuildAt(At("index"), documents).ok());
  const auto first = Open("index");
  ASSERT_TRUE(BuildAt(At("index"), documents).ok());
  EXPECT_EQ(Ids(*Open("index"), "fox n7"), Ids(*first, "fox n7"));
  ASSERT_TRUE(BuildAt(At("index"), Many(3, "owl")).ok());
  EXPECT_EQ(Ids(*Open("index"), "fox"), "");
  EXPECT_EQ(Ids(*Open("index"), "owl"), "0 1 2");
  // What was open goes on.
  EXPECT_EQ(Ids(*first, "n49"), "49");
  EXPECT_THAT(Entries(), ElementsAre("index", "index/bm25.glass", "index/bm25.json"));
}

TEST_F(Bm25Builder, AnEmptyFolderAndALinkToAnIndexMayBeReplaced) {
  fs::create_directory(At("index"));
  fs::create_symlink("index", At("link"));
  ASSERT_TRUE(BuildAt(At("index"), Many(1, "fox")).ok());
  ASSERT_TRUE(BuildAt(At("link"), Many(1, "owl")).ok());
  EXPECT_TRUE(fs::is_symlink(At("link")));
  EXPECT_EQ(Ids(*Open("index"), "owl"), "0");
}

TEST_F(Bm25Builder, WhatIsNoIndexIsNeverReplaced) {
  fs::create_directory(At("folder"));
  Put("folder/thesis.txt", "years of work");
  Put("file", "text");
  fs::create_directory(At("foreign"));
  Put("foreign/bm25.json", R"({"format": "another"})");
  fs::create_directory(At("bare"));
  Put("bare/bm25.glass", "x");
  ASSERT_TRUE(BuildAt(At("notes"), Many(1, "fox")).ok());
  Put("notes/notes.txt", "mine");
  fs::create_symlink("nowhere", At("dangling"));
  const std::vector<std::string> before = Entries();
  const std::string wanted = ": want an index to replace, an empty folder or nothing, found ";
  for (const auto& [name, found] : {std::pair{"folder", "a folder with \"thesis.txt\""},
                                    {"file", "a file"},
                                    {"foreign", "a folder whose bm25.json is not ours"},
                                    {"bare", "a folder without bm25.json"},
                                    {"notes", "a folder with \"notes.txt\""}}) {
    EXPECT_EQ(BuildAt(At(name), Many(1, "owl")).message(), At(name) + wanted + found);
  }
  EXPECT_FALSE(BuildAt(At("dangling"), Many(1, "owl")).ok());
  EXPECT_FALSE(BuildAt(At("file/index"), Many(1, "owl")).ok());
  EXPECT_FALSE(BuildAt("", Many(1, "owl")).ok());
  EXPECT_EQ(Entries(), before);
  EXPECT_EQ(Get("folder/thesis.txt"), "years of work");
}

TEST_F(Bm25Builder, WhatBecomesAFullFolderMeanwhileIsNotReplaced) {
  const auto builder = std::move(Bm25IndexBuilder::Create(At("index"))).value();
  ASSERT_TRUE(builder->Add({.id = "x", .text = "fox"}).ok());
  fs::create_directory(At("index"));
  Put("index/thesis.txt", "years of work");
  EXPECT_THAT(builder->Finish().status().message(), HasSubstr("found a folder with"));
  EXPECT_EQ(Get("index/thesis.txt"), "years of work");
}

TEST_F(Bm25Builder, WithoutFinishNothingIsLeft) {
  ASSERT_TRUE(BuildAt(At("index"), Many(2, "fox")).ok());
  {
    const auto builder = std::move(Bm25IndexBuilder::Create(At("index"))).value();
    ASSERT_TRUE(builder->Add({.id = "x", .text = "owl"}).ok());
    EXPECT_GT(Entries().size(), 3u);
  }
  EXPECT_THAT(Entries(), ElementsAre("index", "index/bm25.glass", "index/bm25.json"));
  EXPECT_EQ(Ids(*Open("index"), "fox owl"), "0 1");
}

// Runs `work` where no file can grow beyond `bytes`; whether it gave a one-line kIoError.
template <class Work>
void ExpectNoSpaceFault(rlim_t bytes, const Work& work) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Status status = work();
    const bool one_line = status.message().find('\n') == std::string::npos;
    if (status.code() == StatusCode::kIoError && one_line) ::_exit(0);
    std::fprintf(stderr, "found \"%s\"\n", status.message().c_str());
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << bytes;
}

TEST_F(Bm25Builder, AFullDiskLeavesTheOldIndexAndNothingElse) {
  ASSERT_TRUE(BuildAt(At("index"), Many(2, "fox")).ok());
  for (const rlim_t bytes : {100, 10'000, 60'000, 200'000}) {
    ExpectNoSpaceFault(bytes, [&] { return BuildAt(At("index"), Many(20'000, "owl")); });
    EXPECT_THAT(Entries(), ElementsAre("index", "index/bm25.glass", "index/bm25.json"));
    EXPECT_EQ(Ids(*Open("index"), "fox owl"), "0 1");
  }
}

TEST_F(Bm25Builder, AfterAFullDiskABuildIsOver) {
  // More documents than memory holds back: the fault comes in the middle.
  const std::vector<IndexDocument> documents = Many(30'000, "owl");
  ExpectNoSpaceFault(60'000, [&]() -> Status {
    ASSIGN_OR_RETURN(const auto builder, Bm25IndexBuilder::Create(At("index")));
    Status first;
    for (size_t i = 0; i < documents.size() && first.ok(); ++i) first = builder->Add(documents[i]);
    const Status next = builder->Add({.id = "next", .text = "fox"});
    const Status last = builder->Finish().status();
    if (next.message() == first.message() && last.message() == first.message()) return first;
    return InvalidArgument("found " + next.message() + " and " + last.message());
  });
  EXPECT_THAT(Entries(), ElementsAre());
}

TEST_F(Bm25Builder, AKilledBuildLeavesAWholeIndexAndTheNextOneCleansUp) {
  ASSERT_TRUE(BuildAt(At("index"), Many(2, "fox")).ok());
  const std::vector<IndexDocument> documents = Many(3000, "owl");
  bool left_some = false;
  for (int i = 0; i < 24; ++i) {
    KillAfter(static_cast<useconds_t>(i * i * 400),
              [&] { return BuildAt(At("index"), documents); });
    const auto index = Open("index");
    const std::string found = Ids(*index, "fox owl", {.top = 2});
    EXPECT_EQ(found, "0 1");
    EXPECT_TRUE(index->facts().documents == 2 || index->facts().documents == 3000);
    left_some = left_some || Entries().size() > 3;
  }
  EXPECT_TRUE(left_some);
  ASSERT_TRUE(BuildAt(At("index"), Many(2, "elk")).ok());
  EXPECT_THAT(Entries(), ElementsAre("index", "index/bm25.glass", "index/bm25.json"));
}

TEST_F(Bm25Builder, OnlyDeadBuildsOfTheSameIndexAreCleanedUp) {
  fs::create_directory(At("index.tmp-999999999-0"));
  Put("index.tmp-999999999-0/bm25.glass", "half");
  fs::create_directory(At("index.tmp-mine"));
  fs::create_directory(At("index2.tmp-1-0"));
  Put("index.tmp-1-1", "a file");
  const auto running = std::move(Bm25IndexBuilder::Create(At("index"))).value();
  ASSERT_TRUE(running->Add({.id = "x", .text = "fox"}).ok());
  ASSERT_TRUE(BuildAt(At("index"), Many(2, "owl")).ok());
  ASSERT_TRUE(running->Finish().ok());
  EXPECT_EQ(Ids(*Open("index"), "fox owl"), "x");
  EXPECT_THAT(Entries(), ElementsAre("index", "index.tmp-1-1", "index.tmp-mine", "index/bm25.glass",
                                     "index/bm25.json", "index2.tmp-1-0"));
}

TEST_F(Bm25Builder, WithoutExchangeTwoRenamesReplaceAFolder) {
  ASSERT_TRUE(BuildAt(At("index"), Many(2, "fox")).ok());
  ASSERT_TRUE(BuildAt(At("other"), Many(2, "owl")).ok());
  {
    const auto temporary = std::move(IndexTemporary::Create(At("index"))).value();
    for (const char* name : {"bm25.json", "bm25.glass"}) {
      fs::copy(At("other/") + name, temporary->path() + "/" + name);
    }
    ASSERT_TRUE(temporary->PutInPlace(/*may_exchange=*/false).ok());
  }
  EXPECT_EQ(Ids(*Open("index"), "owl"), "0 1");
  fs::remove_all(At("other"));
  EXPECT_THAT(Entries(), ElementsAre("index", "index/bm25.glass", "index/bm25.json"));
}

TEST_F(Bm25Builder, ProgressIsReported) {
  std::vector<int64_t> adding;
  std::vector<int64_t> writing;
  Bm25BuildOptions options;
  options.on_progress = [&](const Bm25BuildProgress& now) {
    (now.writing ? writing : adding).push_back(now.documents);
  };
  ASSERT_TRUE(BuildAt(At("index"), Many(2500, "fox"), options).ok());
  EXPECT_THAT(adding, ElementsAre(1000, 2000));
  EXPECT_THAT(writing, ElementsAre(2500));
}

}  // namespace
}  // namespace onepass
