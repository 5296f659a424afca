#include "core/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

namespace onepass {
namespace {

namespace fs = std::filesystem;

class File : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-file-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string At(const std::string& name) const { return dir_ + "/" + name; }
  void Put(const std::string& name, const std::string& text) const {
    std::ofstream(At(name), std::ios::binary) << text;
  }
  std::string Get(const std::string& name) const {
    auto text = ReadFile(At(name));
    return text.ok() ? *text : "(" + text.status().message() + ")";
  }
  size_t EntryCount() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), {}));
  }

  std::string dir_;
};

TEST_F(File, MappingShowsTheBytes) {
  Put("a", std::string("x\0y", 3));
  auto file = MappedFile::Open(At("a"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->text(), std::string_view("x\0y", 3));
  EXPECT_EQ((*file)->path(), At("a"));
}

TEST_F(File, EmptyFileMapsToEmptySpan) {
  Put("a", "");
  auto file = MappedFile::Open(At("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->bytes().empty());
}

TEST_F(File, MappingRefusesWhatIsNoFile) {
  EXPECT_EQ(MappedFile::Open(At("none")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(MappedFile::Open(dir_).status().code(), StatusCode::kIoError);
  EXPECT_EQ(MappedFile::Open("/dev/zero").status().code(), StatusCode::kIoError);
  ASSERT_EQ(::mkfifo(At("pipe").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(At("pipe")).status().code(), StatusCode::kIoError);
}

TEST_F(File, ReadRefusesMoreThanTheLimit) {
  Put("a", "12345");
  EXPECT_EQ(*ReadFile(At("a"), 5), "12345");
  const Status status = ReadFile(At("a"), 4).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), At("a") + ": want at most 4 bytes, found more");
  EXPECT_EQ(ReadFile("/dev/zero", 1000).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFile(dir_).status().code(), StatusCode::kIoError);
  EXPECT_EQ(ReadFile(At("none")).status().code(), StatusCode::kNotFound);
}

TEST_F(File, NothingIsVisibleBeforeCommit) {
  Put("a", "old");
  {
    auto writer = AtomicFileWriter::Create(At("a"));
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->Write("new ").ok());
    ASSERT_TRUE((*writer)->Write("text").ok());
    EXPECT_EQ(Get("a"), "old");
    ASSERT_TRUE((*writer)->Commit().ok());
  }
  EXPECT_EQ(Get("a"), "new text");
  EXPECT_EQ(EntryCount(), 1u);
}

TEST_F(File, DroppedWriterLeavesNothing) {
  Put("a", "old");
  {
    auto writer = AtomicFileWriter::Create(At("a"));
    ASSERT_TRUE((*writer)->Write("half of").ok());
  }
  EXPECT_EQ(Get("a"), "old");
  EXPECT_EQ(EntryCount(), 1u);
}

TEST_F(File, AKilledWriterLeavesNothing) {
  const int probe = ::open(dir_.c_str(), O_TMPFILE | O_WRONLY, 0666);
  if (probe < 0) GTEST_SKIP() << "this file system knows no files without a name";
  ::close(probe);
  Put("a", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    auto writer = AtomicFileWriter::Create(At("a"));
    (void)(*writer)->Write("half of");
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(Get("a"), "old");
  EXPECT_EQ(EntryCount(), 1u);
}

TEST_F(File, FullDiskKeepsTheOldFile) {
  Put("a", "old");
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = WriteFileAtomically(At("a"), std::string(5000, 'x'));
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_EQ(status.message(), At("a") + ": cannot write: File too large");
  EXPECT_EQ(Get("a"), "old");
  EXPECT_EQ(EntryCount(), 1u);
}

TEST_F(File, DeviceIsWrittenThroughNotReplaced) {
  const Status status = WriteFileAtomically("/dev/full", "text");
  EXPECT_EQ(status.message(), "/dev/full: cannot write: No space left on device");
  EXPECT_TRUE(WriteFileAtomically("/dev/null", "text").ok());
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(File, FailedRenameLeavesNoTemporary) {
  auto writer = AtomicFileWriter::Create(At("a"));
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Write("text").ok());
  fs::create_directories(At("a/in-the-way"));  // a file cannot replace a folder
  EXPECT_EQ((*writer)->Commit().code(), StatusCode::kIoError);
  writer->reset();
  EXPECT_TRUE(fs::is_directory(At("a")));
  EXPECT_EQ(EntryCount(), 1u);
}

TEST_F(File, WritingKeepsPermissionsAndLinks) {
  Put("real", "old");
  ASSERT_EQ(::chmod(At("real").c_str(), 0640), 0);
  fs::create_symlink("real", At("link"));
  ASSERT_TRUE(WriteFileAtomically(At("link"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(At("link")));
  EXPECT_EQ(Get("real"), "new");
  struct stat info;
  ASSERT_EQ(::stat(At("real").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0640u);
}

TEST_F(File, WritingIntoNowhereIsAnError) {
  EXPECT_EQ(WriteFileAtomically(At("none/a"), "x").code(), StatusCode::kNotFound);
  EXPECT_EQ(WriteFileAtomically(dir_, "x").code(), StatusCode::kIoError);
}

TEST_F(File, RemoveFileIsOkWithoutOneAndRefusesAFolder) {
  ASSERT_TRUE(WriteFileAtomically(At("gone"), "x").ok());
  EXPECT_TRUE(RemoveFile(At("gone")).ok());
  EXPECT_EQ(ReadFile(At("gone")).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(RemoveFile(At("gone")).ok());
  EXPECT_EQ(RemoveFile(At("")).code(), StatusCode::kIoError);
}

TEST_F(File, MakeDirectoriesMakesAllAndRepeats) {
  ASSERT_TRUE(MakeDirectories(At("x/y//z/")).ok());
  EXPECT_TRUE(fs::is_directory(At("x/y/z")));
  EXPECT_TRUE(MakeDirectories(At("x/y/z")).ok());
  Put("file", "");
  const Status status = MakeDirectories(At("file/below"));
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_EQ(status.message(), At("file") + ": want a folder, found a file");
}

}  // namespace
}  // namespace onepass
