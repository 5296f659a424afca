// Records: the JSON objects that fill a chain's templates, read from JSONL or from a JSON array.
// Keys are free (the authors' are I_ALL, I_A, O_A ...); values are data and never become special
// tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/status.h"

namespace onepass {

// What a faulty record does to the others of its file.
enum class OnError { kStop, kSkip };

// One value of a record.
struct RecordField {
  enum class Kind {
    kText,   // a string, or a number or boolean as JSON writes it
    kList,   // an array of such
    kOther,  // null, an object, a nested array: cannot be used
  };
  std::string name;
  Kind kind = Kind::kText;
  std::string text;
  std::vector<std::string> list;
  std::string json_type;  // "string", "number", ...: for messages
};

// Plain data. Messages name it by number and line.
struct Record {
  int64_t number = 0;  // counts from 1
  int64_t line = 0;    // where it begins in the file; 0: it comes from no file
  std::vector<RecordField> fields;

  // Null if there is none.
  const RecordField* Find(std::string_view name) const;
  // kInvalidArgument names the record, the field and the fields that exist.
  Result<std::string_view> Text(std::string_view name) const;
  // "record 7 (line 7)"; "the request" where there is no file.
  std::string Where() const;
};

struct RecordLimits {
  int64_t max_record_bytes = int64_t{16} << 20;
  int64_t max_fields = 1024;
  int max_depth = 32;
};

// A record from the text of one JSON object. Refuses invalid UTF-8, duplicate keys and nesting
// beyond the limit. `line` is where the text begins, for messages.
Result<Record> ParseRecord(std::string_view json, int64_t number, int64_t line,
                           const RecordLimits& limits = {});

// Walks the records of a mapped file; holds one record at a time. Thread-compatible.
class RecordReader {
 public:
  static Result<std::unique_ptr<RecordReader>> Open(const std::string& path,
                                                    const RecordLimits& limits = {});
  // The same over bytes that must outlive it; `name` stands for the path in messages.
  RecordReader(std::string_view text, std::string name, const RecordLimits& limits);

  // The next record, or none at the end. A fault concerns this record alone, and the next call goes
  // on behind it, unless the file's own structure is broken: then the next call says the end.
  Result<std::optional<Record>> Next();

  // The last fault was the file's: what stands behind it is unknown, and nobody may go on as if the
  // file ended there.
  bool broken() const { return broken_; }
  // Number of the record that the last Next() returned or refused.
  int64_t number() const { return number_; }
  // Bytes walked and in all: for a progress line.
  int64_t bytes_read() const { return static_cast<int64_t>(at_); }
  int64_t bytes_total() const { return static_cast<int64_t>(text_.size()); }

 private:
  Result<std::optional<Record>> NextLine();
  Result<std::optional<Record>> NextElement();
  Result<Record> ParseAt(size_t begin, size_t end, int64_t line);
  void SkipSpace();

  std::shared_ptr<const MappedFile> file_;
  std::string_view text_;
  std::string name_;
  RecordLimits limits_;
  size_t at_ = 0;
  int64_t line_ = 1;
  int64_t number_ = 0;
  bool is_array_ = false;
  bool done_ = false;
  bool broken_ = false;
};

// All records of a file; the first faulty one is an error.
Result<std::vector<Record>> LoadRecords(const std::string& path, const RecordLimits& limits = {});

}  // namespace onepass
