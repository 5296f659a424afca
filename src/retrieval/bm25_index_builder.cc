#include "retrieval/bm25_index_builder.h"

#include <fcntl.h>

#include <filesystem>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/file.h"
#include "core/quote.h"
#include "core/utf8.h"
#include "retrieval/index_folder.h"
#include "retrieval/manifest.h"
#include "retrieval/stored_document.h"
#include "retrieval/xapian_words.h"

namespace onepass {
namespace {

constexpr size_t kMaxIdBytes = 1024;
constexpr int64_t kDocumentsAReport = 1000;
constexpr size_t kBytesInMemory = size_t{64} << 20;  // text whose words await the disk

// "document 7 (line 9)"; without the line where it is not said.
std::string Where(int64_t number, int64_t line) {
  const std::string where = "document " + std::to_string(number);
  return line > 0 ? where + " (line " + std::to_string(line) + ")" : where;
}

Status CheckDocument(const IndexDocument& document) {
  if (document.id.empty() || document.id.size() > kMaxIdBytes) {
    return InvalidArgument("id: want 1 to " + std::to_string(kMaxIdBytes) + " bytes, found " +
                           std::to_string(document.id.size()));
  }
  const size_t bytes = document.id.size() + document.title.size() + document.text.size();
  if (bytes > static_cast<size_t>(kMaxDocumentBytes)) {
    return InvalidArgument("want at most " + std::to_string(kMaxDocumentBytes) + " bytes, found " +
                           std::to_string(bytes));
  }
  if (!IsUtf8(document.id)) return InvalidArgument("id: want UTF-8, found other bytes");
  if (!IsUtf8(document.title)) return InvalidArgument("title: want UTF-8, found other bytes");
  if (!IsUtf8(document.text)) return InvalidArgument("text: want UTF-8, found other bytes");
  return Status::Ok();
}

}  // namespace

Status Bm25BuildOptions::Validate() const {
  RETURN_IF_ERROR(weights.Validate());
  if (IsStemLanguage(stem)) return Status::Ok();
  return InvalidArgument("stem: want one of " + StemLanguages() + ", found " + Quote(stem));
}

struct Bm25IndexBuilder::Impl {
  Impl(std::string folder_path, const Bm25BuildOptions& build_options)
      : folder(std::move(folder_path)), options(build_options) {}

  // Where documents are collected, before they become one file.
  std::string CollectPath() const { return temporary->path() + "/collect"; }
  void Report(bool writing) const {
    if (options.on_progress) options.on_progress({.documents = added, .writing = writing});
  }
  Status Collect(const IndexDocument& document);
  Status WriteData();
  Result<IndexManifest> WriteManifest();

  struct Place {
    int64_t number = 0;
    int64_t line = 0;
  };

  std::string folder;  // as the caller spells it, for messages
  Bm25BuildOptions options;
  std::unique_ptr<IndexTemporary> temporary;  // outlives `collected`, which lies in it
  std::optional<WordCounter> counter;
  Xapian::WritableDatabase collected;
  std::unordered_map<std::string, Place> ids;
  int64_t number = 0;  // of calls of Add
  int64_t added = 0;
  size_t waiting_bytes = 0;  // since words were last written
  bool finished = false;
  Status fault;  // of the disk: the end of this build
};

Status Bm25IndexBuilder::Impl::Collect(const IndexDocument& document) {
  return CatchXapian("index " + folder, [&] {
    Xapian::Document words;
    counter->Count(document.title, &words);
    counter->Count(document.text, &words);
    words.set_data(PackDocument({document.id, document.title, document.text}));
    collected.add_document(words);
    waiting_bytes += document.title.size() + document.text.size();
    if (waiting_bytes >= kBytesInMemory) {
      collected.commit();
      waiting_bytes = 0;
    }
    return Status::Ok();
  });
}

Status Bm25IndexBuilder::Impl::WriteData() {
  return CatchXapian("index " + folder, [&] {
    collected.commit();
    // STANDARD, not FULLER: that one's memory is corrupted by documents larger than a block.
    collected.compact(temporary->path() + "/" + kIndexDataFile,
                      Xapian::DBCOMPACT_SINGLE_FILE | Xapian::Compactor::STANDARD);
    collected.close();
    return Status::Ok();
  });
}

// Also takes the data file's measure, and removes what it was made from.
Result<IndexManifest> Bm25IndexBuilder::Impl::WriteManifest() {
  const std::string path = temporary->path() + "/" + kIndexDataFile;
  IndexManifest manifest;
  manifest.facts = {.documents = added, .weights = options.weights, .stem = options.stem};
  const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return IoError(path + ": want the file just written, found none");
  Result<FileDigest> digest = DigestFile(fd.get());
  RETURN_IF_ERROR(digest.status().WithPrefix(path));
  manifest.facts.bytes = digest->bytes;
  manifest.data_hash = digest->hash;
  RETURN_IF_ERROR(CatchXapian("index " + folder, [&] {
    const Xapian::Database data(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0), Xapian::DB_BACKEND_GLASS);
    manifest.facts.words = static_cast<int64_t>(data.get_total_length());
    if (static_cast<int64_t>(data.get_doccount()) == added) return Status::Ok();
    return IoError(path + ": want " + std::to_string(added) + " documents as written, found " +
                   std::to_string(data.get_doccount()));
  }));
  RETURN_IF_ERROR(SyncPath(path));
  std::error_code error;
  std::filesystem::remove_all(CollectPath(), error);
  if (error) return IoError(CollectPath() + ": cannot remove: " + error.message());
  RETURN_IF_ERROR(WriteFileAtomically(temporary->path() + "/" + kManifestFile, ToJson(manifest)));
  return manifest;
}

Bm25IndexBuilder::Bm25IndexBuilder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Bm25IndexBuilder::~Bm25IndexBuilder() = default;

Result<std::unique_ptr<Bm25IndexBuilder>> Bm25IndexBuilder::Create(
    const std::string& folder, const Bm25BuildOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  auto impl = std::make_unique<Impl>(folder, options);
  ASSIGN_OR_RETURN(impl->temporary, IndexTemporary::Create(folder));
  RETURN_IF_ERROR(CatchXapian("index " + folder, [&] {
    impl->counter.emplace(options.stem);
    impl->collected = Xapian::WritableDatabase(
        impl->CollectPath(),
        Xapian::DB_CREATE | Xapian::DB_BACKEND_GLASS | Xapian::DB_NO_SYNC | Xapian::DB_NO_TERMLIST);
    return Status::Ok();
  }));
  return std::unique_ptr<Bm25IndexBuilder>(new Bm25IndexBuilder(std::move(impl)));
}

Status Bm25IndexBuilder::Add(const IndexDocument& document) {
  Impl& impl = *impl_;
  ONEPASS_CHECK(!impl.finished, "Add after Finish");
  RETURN_IF_ERROR(impl.fault);
  const std::string where = Where(++impl.number, document.line);
  RETURN_IF_ERROR(CheckDocument(document).WithPrefix(where));
  const auto [it, is_new] =
      impl.ids.try_emplace(document.id, Impl::Place{impl.number, document.line});
  if (!is_new) {
    return InvalidArgument(where + ": want an id of its own, found " + Quote(document.id) +
                           " again, of " + Where(it->second.number, it->second.line));
  }
  impl.fault = impl.Collect(document);
  RETURN_IF_ERROR(impl.fault);
  if (++impl.added % kDocumentsAReport == 0) impl.Report(/*writing=*/false);
  return Status::Ok();
}

Result<Bm25Facts> Bm25IndexBuilder::Finish() {
  Impl& impl = *impl_;
  ONEPASS_CHECK(!impl.finished, "Finish twice");
  impl.finished = true;
  RETURN_IF_ERROR(impl.fault);
  if (impl.added == 0) {
    return InvalidArgument("index " + impl.folder + ": want a document at least, found none");
  }
  impl.Report(/*writing=*/true);
  RETURN_IF_ERROR(impl.WriteData());
  ASSIGN_OR_RETURN(const IndexManifest manifest, impl.WriteManifest());
  RETURN_IF_ERROR(impl.temporary->PutInPlace());
  impl.temporary.reset();  // removes the index that was there
  return manifest.facts;
}

}  // namespace onepass
