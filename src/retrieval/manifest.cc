#include "retrieval/manifest.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "core/hash.h"
#include "core/json_bytes.h"
#include "core/quote.h"

namespace onepass {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFormat[] = "onepass-bm25";
constexpr uint64_t kVersion = 1;
constexpr uint64_t kMaxCount = uint64_t{1} << 53;  // a JSON number that every reader keeps exact

std::string Describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  if (value.is_string()) return Quote(value.get_ref<const std::string&>());
  return value.dump();
}

// A JSON object without the same key twice.
Result<Json> ParseObject(std::string_view text) {
  RETURN_IF_ERROR(CheckJsonBytes(text).WithPrefix("want JSON, found"));
  std::set<std::string> keys;
  std::string twice;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event != Json::parse_event_t::key || depth != 1) return true;
    const std::string& key = parsed.get_ref<const std::string&>();
    if (!keys.insert(key).second && twice.empty()) twice = key;
    return true;
  };
  Json json = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (json.is_discarded()) return InvalidArgument("want JSON, found something else");
  if (!json.is_object()) return InvalidArgument("want an object, found " + Describe(json));
  if (!twice.empty())
    return InvalidArgument("want each key once, found " + Quote(twice) + " twice");
  return json;
}

// Reads values by key; the first fault is kept.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}

  std::string Text(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return "";
    if (value->is_string()) return value->get<std::string>();
    Fail(key, "a string", *value);
    return "";
  }
  int64_t Count(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return 0;
    if (value->is_number_unsigned() && value->get<uint64_t>() <= kMaxCount) {
      return value->get<int64_t>();
    }
    Fail(key, "a whole number, 0 or more", *value);
    return 0;
  }
  double Number(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return 0;
    if (value->is_number()) return value->get<double>();
    Fail(key, "a number", *value);
    return 0;
  }
  uint64_t Hash(const char* key) {
    const std::string digits = Text(key);
    if (!fault_.ok()) return 0;
    uint64_t hash = 0;
    for (const char c : digits) {
      const bool is_digit = c >= '0' && c <= '9';
      hash = hash << 4 | static_cast<uint64_t>(is_digit ? c - '0' : c - 'a' + 10);
    }
    // Back to digits: whatever else stood there is found so.
    if (HexDigits(hash) != digits) Fail(key, "16 lower-case hex digits", Json(digits));
    return hash;
  }
  // The first fault, or a key that nobody asked for.
  Status Finish() const {
    RETURN_IF_ERROR(fault_);
    for (const auto& [key, value] : json_.items()) {
      if (!known_.contains(key)) {
        return InvalidArgument("want only the keys that it knows, found " + Quote(key));
      }
    }
    return Status::Ok();
  }

 private:
  const Json* Find(const char* key) {
    known_.insert(key);
    const auto it = json_.find(key);
    if (it != json_.end()) return &*it;
    if (fault_.ok()) fault_ = InvalidArgument(Quote(key) + ": want a value, found none");
    return nullptr;
  }
  void Fail(const char* key, const char* wanted, const Json& found) {
    if (!fault_.ok()) return;
    fault_ = InvalidArgument(Quote(key) + ": want " + wanted + ", found " + Describe(found));
  }

  const Json& json_;
  std::set<std::string> known_;
  Status fault_;
};

bool HasFormat(const Json& json) {
  const auto it = json.find("format");
  return it != json.end() && *it == kFormat;
}

}  // namespace

std::string ToJson(const IndexManifest& manifest) {
  Json json;
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["documents"] = manifest.facts.documents;
  json["words"] = manifest.facts.words;
  json["k1"] = manifest.facts.weights.k1;
  json["b"] = manifest.facts.weights.b;
  json["stem"] = manifest.facts.stem;
  json["data_bytes"] = manifest.facts.bytes;
  json["data_hash"] = HexDigits(manifest.data_hash);
  return json.dump(2) + "\n";
}

bool IsManifest(std::string_view json) {
  const Result<Json> object = ParseObject(json);
  return object.ok() && HasFormat(*object);
}

Result<IndexManifest> ParseManifest(std::string_view json) {
  ASSIGN_OR_RETURN(const Json object, ParseObject(json));
  if (!HasFormat(object)) {
    return InvalidArgument(std::string("want \"format\": \"") + kFormat + "\", found another");
  }
  Reader reader(object);
  (void)reader.Text("format");
  const int64_t version = reader.Count("version");
  // Another version may have other keys.
  if (object.contains("version") && version != static_cast<int64_t>(kVersion)) {
    return Unsupported("\"version\": want " + std::to_string(kVersion) + ", found " +
                       Describe(object["version"]));
  }
  IndexManifest manifest;
  Bm25Facts& facts = manifest.facts;
  facts.documents = reader.Count("documents");
  facts.words = reader.Count("words");
  facts.weights.k1 = reader.Number("k1");
  facts.weights.b = reader.Number("b");
  facts.stem = reader.Text("stem");
  facts.bytes = reader.Count("data_bytes");
  manifest.data_hash = reader.Hash("data_hash");
  RETURN_IF_ERROR(reader.Finish());
  RETURN_IF_ERROR(facts.weights.Validate());
  return manifest;
}

Result<FileDigest> DigestFile(int fd) {
  std::vector<std::byte> block(size_t{1} << 20);
  FileDigest digest;
  while (true) {
    size_t filled = 0;
    while (filled < block.size()) {
      const ssize_t count = ::pread(fd, block.data() + filled, block.size() - filled,
                                    digest.bytes + static_cast<int64_t>(filled));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return IoError(std::string("cannot read: ") + std::strerror(errno));
      if (count == 0) break;
      filled += static_cast<size_t>(count);
    }
    if (filled == 0) return digest;
    digest.hash = HashBytes(std::span(block.data(), filled), digest.hash);
    digest.bytes += static_cast<int64_t>(filled);
  }
}

}  // namespace onepass
