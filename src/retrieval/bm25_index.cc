#include "retrieval/bm25_index.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <utility>

#include "core/file.h"
#include "core/hash.h"
#include "core/quote.h"
#include "retrieval/index_folder.h"
#include "retrieval/manifest.h"
#include "retrieval/stored_document.h"
#include "retrieval/xapian_words.h"

namespace onepass {
namespace {

constexpr double kMaxK1 = 1000;
// Query words count as often as they stand there: Xapian's (k3 + 1) * q / (k3 + q) is q then.
constexpr double kLinearK3 = 1e15;

Status CheckRange(const char* name, double value, double max) {
  if (value >= 0 && value <= max) return Status::Ok();  // not a NaN either
  char text[96];
  std::snprintf(text, sizeof(text), "%s: want a number from 0 to %g, found %g", name, max, value);
  return InvalidArgument(text);
}

// The name of an open folder's file, whatever has become of the folder's own name.
std::string FileIn(const OwnedFd& folder, const char* name) {
  return "/proc/self/fd/" + std::to_string(folder.get()) + "/" + name;
}

Result<IndexManifest> ReadManifest(const OwnedFd& folder) {
  const std::string name = std::string(kManifestFile) + ": ";
  const Result<std::string> json = ReadFile(FileIn(folder, kManifestFile), kMaxManifestBytes);
  if (!json.ok()) {
    const std::string& why = json.status().message();
    const bool is_missing = json.status().code() == StatusCode::kNotFound;
    return InvalidArgument(name + "want an index's manifest, found " +
                           (is_missing ? "none" : Quote(why.substr(why.find(": ") + 2))));
  }
  const Result<IndexManifest> manifest = ParseManifest(*json);
  RETURN_IF_ERROR(manifest.status().WithPrefix(kManifestFile));
  if (!IsStemLanguage(manifest->facts.stem)) {
    return InvalidArgument(name + "\"stem\": want a language that is known, found " +
                           Quote(manifest->facts.stem));
  }
  return *manifest;
}

// The data file, once its bytes are those that the manifest speaks of.
Result<OwnedFd> OpenData(const OwnedFd& folder, const IndexManifest& manifest) {
  const std::string name = std::string(kIndexDataFile) + ": ";
  OwnedFd data(::openat(folder.get(), kIndexDataFile, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (data.get() < 0) {
    if (errno == ENOENT) return InvalidArgument(name + "want the index's data, found none");
    return IoError(name + "cannot open: " + std::strerror(errno));
  }
  struct stat info;
  if (::fstat(data.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return InvalidArgument(name + "want a file, found something else");
  }
  if (info.st_size != manifest.facts.bytes) {
    return InvalidArgument(name + "want " + std::to_string(manifest.facts.bytes) +
                           " bytes, found " + std::to_string(info.st_size));
  }
  const Result<FileDigest> digest = DigestFile(data.get());
  RETURN_IF_ERROR(digest.status().WithPrefix(kIndexDataFile));
  if (digest->hash != manifest.data_hash) {
    return InvalidArgument(name + "want the checksum " + HexDigits(manifest.data_hash) +
                           ", found " + HexDigits(digest->hash));
  }
  return data;
}

// The part of a query that is read.
std::string_view CutQuery(std::string_view query) {
  if (query.size() <= static_cast<size_t>(kMaxQueryBytes)) return query;
  size_t size = static_cast<size_t>(kMaxQueryBytes);
  const auto is_inside = [&](size_t at) {
    return (static_cast<unsigned char>(query[at]) & 0xC0) == 0x80;
  };
  while (size + 3 > static_cast<size_t>(kMaxQueryBytes) && is_inside(size)) --size;
  return query.substr(0, size);
}

}  // namespace

Status Bm25Weights::Validate() const {
  RETURN_IF_ERROR(CheckRange("k1", k1, kMaxK1));
  return CheckRange("b", b, 1);
}

struct Bm25Index::Impl {
  explicit Impl(const Bm25Facts& index_facts) : facts(index_facts), counter(index_facts.stem) {}

  // Whether the data holds what the manifest says.
  Status CheckCounts() const;
  Xapian::Query QueryOf(std::string_view text);
  Status Search(std::string_view query, const Bm25Weights& weights, int64_t top,
                std::vector<Hit>* hits);

  std::string place;  // "index FOLDER", of messages
  Bm25Facts facts;
  WordCounter counter;
  Xapian::Database data;
};

Status Bm25Index::Impl::CheckCounts() const {
  const auto check = [&](int64_t wanted, uint64_t found, const char* what) {
    if (static_cast<uint64_t>(wanted) == found) return Status::Ok();
    return InvalidArgument(place + ": want " + std::to_string(wanted) + " " + what + ", found " +
                           std::to_string(found));
  };
  RETURN_IF_ERROR(check(facts.documents, data.get_doccount(), "documents"));
  return check(facts.words, data.get_total_length(), "words");
}

// Any of the words, each with the number of its occurrences.
Xapian::Query Bm25Index::Impl::QueryOf(std::string_view text) {
  struct Word {
    Xapian::doccount documents;
    std::string word;
    Xapian::termcount count;
    auto Order() const { return std::tie(documents, word); }
  };
  Xapian::Document counted;
  counter.Count(CutQuery(text), &counted);
  std::vector<Word> words;
  for (auto it = counted.termlist_begin(); it != counted.termlist_end(); ++it) {
    const Xapian::doccount documents = data.get_termfreq(*it);
    if (documents > 0) words.push_back({documents, *it, it.get_wdf()});
  }
  std::ranges::sort(words, {}, &Word::Order);
  words.resize(std::min(words.size(), static_cast<size_t>(kMaxQueryWords)));
  std::vector<Xapian::Query> parts;
  for (const Word& word : words) parts.emplace_back(word.word, word.count);
  return Xapian::Query(Xapian::Query::OP_OR, parts.begin(), parts.end());
}

Status Bm25Index::Impl::Search(std::string_view query, const Bm25Weights& weights, int64_t top,
                               std::vector<Hit>* hits) {
  Xapian::Enquire enquire(data);
  enquire.set_query(QueryOf(query));
  enquire.set_weighting_scheme(Xapian::BM25Weight(weights.k1, /*k2=*/0, kLinearK3, weights.b,
                                                  /*min_normlen=*/0));
  enquire.set_docid_order(Xapian::Enquire::ASCENDING);
  const Xapian::MSet found =
      enquire.get_mset(0, static_cast<Xapian::doccount>(std::min(top, facts.documents)));
  for (auto it = found.begin(); it != found.end(); ++it) {
    const std::string bytes = it.get_document().get_data();
    const std::optional<StoredDocument> document = UnpackDocument(bytes);
    if (!document) {
      return InvalidArgument(place + ": want a document, found lengths beyond its end");
    }
    hits->push_back({.id = std::string(document->id),
                     .score = it.get_weight(),
                     .title = std::string(document->title),
                     .text = std::string(document->text)});
  }
  return Status::Ok();
}

Bm25Index::Bm25Index(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Bm25Index::~Bm25Index() = default;

const Bm25Facts& Bm25Index::facts() const { return impl_->facts; }

Result<std::unique_ptr<Bm25Index>> Bm25Index::Open(const std::string& folder) {
  const std::string place = "index " + folder;
  const OwnedFd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0) {
    const std::string wanted = place + ": want an index's folder, found ";
    if (errno == ENOENT) return NotFound(wanted + "none");
    if (errno == ENOTDIR) return InvalidArgument(wanted + "a file");
    return IoError(place + ": cannot open: " + std::strerror(errno));
  }
  const Result<IndexManifest> manifest = ReadManifest(opened);
  RETURN_IF_ERROR(manifest.status().WithPrefix(place));
  Result<OwnedFd> data = OpenData(opened, *manifest);
  RETURN_IF_ERROR(data.status().WithPrefix(place));
  std::unique_ptr<Impl> impl;
  RETURN_IF_ERROR(CatchXapian(place, [&] {
    impl = std::make_unique<Impl>(manifest->facts);
    impl->place = place;
    // The descriptor, not the name: nothing else is opened, whatever the file says.
    impl->data = Xapian::Database(data->Release(), Xapian::DB_BACKEND_GLASS);
    return impl->CheckCounts();
  }));
  return std::unique_ptr<Bm25Index>(new Bm25Index(std::move(impl)));
}

Result<std::vector<Hit>> Bm25Index::Search(std::string_view query,
                                           const Bm25SearchOptions& options) {
  const Bm25Weights weights = {.k1 = options.k1.value_or(impl_->facts.weights.k1),
                               .b = options.b.value_or(impl_->facts.weights.b)};
  RETURN_IF_ERROR(weights.Validate());
  if (options.top < 0) {
    return InvalidArgument("top: want 0 or more, found " + std::to_string(options.top));
  }
  std::vector<Hit> hits;
  RETURN_IF_ERROR(
      CatchXapian(impl_->place, [&] { return impl_->Search(query, weights, options.top, &hits); }));
  return hits;
}

}  // namespace onepass
