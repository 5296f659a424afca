#include "chain/record.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/json_bytes.h"
#include "core/quote.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr std::string_view kSpace = " \t\r\n";

// Builds the fields of one flat object from the parser's events: no tree, so nothing is nested.
class RecordBuilder : public nlohmann::json_sax<json> {
 public:
  RecordBuilder(Record* record, const RecordLimits& limits) : record_(record), limits_(limits) {}

  const std::string& fault() const { return fault_; }

  bool null() override { return Other("null"); }
  bool boolean(bool value) override { return Scalar(value ? "true" : "false", "boolean"); }
  bool number_integer(number_integer_t value) override {
    return Scalar(std::to_string(value), "number");
  }
  bool number_unsigned(number_unsigned_t value) override {
    return Scalar(std::to_string(value), "number");
  }
  bool number_float(number_float_t, const string_t& spelled) override {
    return Scalar(spelled, "number");
  }
  bool string(string_t& value) override { return Scalar(std::move(value), "string"); }
  bool binary(binary_t&) override { return Fail("binary values are not JSON"); }

  bool start_object(std::size_t) override {
    if (depth_ > 0 && !Other("object")) return false;
    return Open();
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ == 0) return Fail("want an object, found an array");
    if (depth_ == 1) {
      record_->fields.back().kind = RecordField::Kind::kList;
      record_->fields.back().json_type = "array";
    } else if (!Other("nested array")) {
      return false;
    }
    return Open();
  }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool key(string_t& name) override {
    if (depth_ > 1) return true;
    if (record_->Find(name) != nullptr) return Fail("key " + Quote(name) + " stands twice");
    if (std::ssize(record_->fields) >= limits_.max_fields) {
      return Fail("want at most " + std::to_string(limits_.max_fields) + " fields");
    }
    RecordField field;
    field.name = std::move(name);
    record_->fields.push_back(std::move(field));
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception...] parse error at line 1, column 8: WHAT": position and cause are enough.
    std::string what = error.what();
    if (const size_t colon = what.find(": "); colon != std::string::npos) {
      what = what.substr(colon + 2);
    }
    // The cause quotes what was read last: of any length, and not always UTF-8.
    constexpr size_t kMaxCause = 160;
    if (what.size() > kMaxCause) what = what.substr(0, kMaxCause) + "...";
    std::ranges::replace_if(
        what, [](char c) { return static_cast<unsigned char>(c) - 0x20u > 0x5Eu; }, '?');
    return Fail("not JSON at byte " + std::to_string(position) + ": " + what);
  }

 private:
  bool Fail(std::string fault) {
    if (fault_.empty()) fault_ = std::move(fault);
    return false;
  }

  bool Open() {
    if (++depth_ > limits_.max_depth) {
      return Fail("nested deeper than " + std::to_string(limits_.max_depth));
    }
    return true;
  }

  bool Scalar(std::string text, const char* type) {
    if (depth_ == 0) return Fail(std::string("want an object, found a ") + type);
    RecordField& field = record_->fields.back();
    if (depth_ == 1) {
      field.text = std::move(text);
      field.json_type = type;
    } else if (field.kind == RecordField::Kind::kList && depth_ == 2) {
      field.list.push_back(std::move(text));
    }
    return true;
  }

  // A value that no template can use, at whatever depth: it spoils its field.
  bool Other(const char* type) {
    if (depth_ == 0) return Fail(std::string("want an object, found ") + type);
    RecordField& field = record_->fields.back();
    if (field.kind != RecordField::Kind::kOther) {
      field.json_type = field.kind == RecordField::Kind::kList ? std::string("array with ") + type
                                                               : std::string(type);
    }
    field.kind = RecordField::Kind::kOther;
    field.list.clear();
    return true;
  }

  Record* record_;
  const RecordLimits& limits_;
  int depth_ = 0;
  std::string fault_;
};

}  // namespace

const RecordField* Record::Find(std::string_view name) const {
  const auto it =
      std::ranges::find_if(fields, [&](const RecordField& field) { return field.name == name; });
  return it == fields.end() ? nullptr : &*it;
}

std::string Record::Where() const {
  if (line == 0) return "the request";
  return "record " + std::to_string(number) + " (line " + std::to_string(line) + ")";
}

Result<std::string_view> Record::Text(std::string_view name) const {
  const RecordField* field = Find(name);
  if (field == nullptr) {
    constexpr size_t kMaxNamed = 20;
    std::string existing;
    for (size_t i = 0; i < std::min(fields.size(), kMaxNamed); ++i) {
      existing += (i == 0 ? "" : ", ") + Quote(fields[i].name);
    }
    if (fields.size() > kMaxNamed) existing += ", ...";
    return InvalidArgument(Where() + ": want field " + Quote(name) + ", found " +
                           (fields.empty() ? "no fields" : "only " + existing));
  }
  if (field->kind != RecordField::Kind::kText) {
    return InvalidArgument(Where() + ": field " + Quote(name) +
                           ": want a string or a number, found " + field->json_type);
  }
  return std::string_view(field->text);
}

Result<Record> ParseRecord(std::string_view text, int64_t number, int64_t line,
                           const RecordLimits& limits) {
  Record record;
  record.number = number;
  record.line = line;
  if (std::ssize(text) > limits.max_record_bytes) {
    return InvalidArgument(record.Where() + ": want at most " +
                           std::to_string(limits.max_record_bytes) + " bytes, found " +
                           std::to_string(text.size()));
  }
  RETURN_IF_ERROR(CheckJsonBytes(text).WithPrefix(record.Where()));
  RecordBuilder builder(&record, limits);
  if (!json::sax_parse(text.begin(), text.end(), &builder)) {
    return InvalidArgument(record.Where() + ": " + builder.fault());
  }
  return record;
}

RecordReader::RecordReader(std::string_view text, std::string name, const RecordLimits& limits)
    : text_(text), name_(std::move(name)), limits_(limits) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text_.starts_with(kByteOrderMark)) text_.remove_prefix(kByteOrderMark.size());
  SkipSpace();
  if (at_ < text_.size() && text_[at_] == '[') {
    is_array_ = true;
    ++at_;
  }
}

Result<std::unique_ptr<RecordReader>> RecordReader::Open(const std::string& path,
                                                         const RecordLimits& limits) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  auto reader = std::make_unique<RecordReader>(file->text(), path, limits);
  reader->file_ = std::move(file);
  return reader;
}

void RecordReader::SkipSpace() {
  while (at_ < text_.size() && kSpace.find(text_[at_]) != std::string_view::npos) {
    if (text_[at_] == '\n') ++line_;
    ++at_;
  }
}

Result<Record> RecordReader::ParseAt(size_t begin, size_t end, int64_t line) {
  Result<Record> record = ParseRecord(text_.substr(begin, end - begin), number_, line, limits_);
  if (!record.ok()) return record.status().WithPrefix(name_);
  return record;
}

Result<std::optional<Record>> RecordReader::Next() {
  if (done_) return std::optional<Record>();
  return is_array_ ? NextElement() : NextLine();
}

Result<std::optional<Record>> RecordReader::NextLine() {
  SkipSpace();
  if (at_ >= text_.size()) {
    done_ = true;
    return std::optional<Record>();
  }
  ++number_;
  const size_t begin = at_;
  const size_t end = std::min(text_.find('\n', at_), text_.size());
  const int64_t line = line_;
  at_ = end;
  ASSIGN_OR_RETURN(Record record, ParseAt(begin, end, line));
  return std::optional<Record>(std::move(record));
}

// Finds an element's end by its brackets and quotes, so that a faulty one costs only itself.
Result<std::optional<Record>> RecordReader::NextElement() {
  const auto broken = [&](const std::string& want) -> Status {
    done_ = broken_ = true;
    std::string found = "the end of the file";
    if (at_ < text_.size()) {
      const unsigned char c = static_cast<unsigned char>(text_[at_]);
      found = c > 0x20 && c < 0x7F ? Quote(text_.substr(at_, 1)) : "byte " + std::to_string(c);
    }
    return InvalidArgument(name_ + ": line " + std::to_string(line_) + ": want " + want +
                           ", found " + found);
  };
  SkipSpace();
  if (at_ < text_.size() && text_[at_] == ']') {
    ++at_;
    SkipSpace();
    if (at_ < text_.size()) {
      ++number_;
      const Status fault = broken("nothing after the array");
      broken_ = false;  // all of it was there
      return fault;
    }
    done_ = true;
    return std::optional<Record>();
  }
  if (++number_ > 1) {
    if (at_ >= text_.size() || text_[at_] != ',') return broken("\",\" or \"]\"");
    ++at_;
    SkipSpace();
  }
  if (at_ >= text_.size() || std::string_view(",]}").find(text_[at_]) != std::string_view::npos) {
    return broken("an object");
  }
  const size_t begin = at_;
  const int64_t line = line_;
  int64_t depth = 0;
  bool quoted = false;
  for (; at_ < text_.size(); ++at_) {
    const char c = text_[at_];
    if (c == '\n') ++line_;
    if (quoted) {
      if (c == '\\') {
        if (at_ + 1 < text_.size() && text_[at_ + 1] != '\n') ++at_;
      } else if (c == '"') {
        quoted = false;
      }
      continue;
    }
    if (c == '"') quoted = true;
    if (c == '{' || c == '[') ++depth;
    if (depth == 0 && (c == ',' || c == ']' || c == '}')) break;
    if (c == '}' || c == ']') --depth;
    if (depth == 0 && (c == '}' || c == ']')) {
      ++at_;
      break;
    }
  }
  if (depth > 0 || quoted) return broken(quoted ? "a closing quote" : "a closing bracket");
  ASSIGN_OR_RETURN(Record record, ParseAt(begin, at_, line));
  return std::optional<Record>(std::move(record));
}

Result<std::vector<Record>> LoadRecords(const std::string& path, const RecordLimits& limits) {
  ASSIGN_OR_RETURN(std::unique_ptr<RecordReader> reader, RecordReader::Open(path, limits));
  std::vector<Record> records;
  while (true) {
    ASSIGN_OR_RETURN(std::optional<Record> record, reader->Next());
    if (!record) return records;
    records.push_back(*std::move(record));
  }
}

}  // namespace onepass
