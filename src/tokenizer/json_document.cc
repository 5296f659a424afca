#include "tokenizer/json_document.h"

#include <optional>

#include "core/json_bytes.h"
#include "core/quote.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxBytes = size_t{1} << 30;

// Takes the parser's events. A handler that returns false ends the parse with status() set.
class Reader : public nlohmann::json_sax<json> {
 public:
  Reader(TokenizerDocument* document, const std::string& name) : document_(document), name_(name) {}

  const Status& status() const { return status_; }

  bool null() override {
    return Value("null", [] { return json(nullptr); });
  }
  bool boolean(bool value) override {
    return Value(value ? "true" : "false", [value] { return json(value); });
  }
  bool number_integer(number_integer_t value) override {
    return Number(
        value < 0 ? -1 : value, [value] { return json(value); }, std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    const int64_t id =
        value > static_cast<uint64_t>(kMaxTokenId) ? -1 : static_cast<int64_t>(value);
    return Number(
        id, [value] { return json(value); }, std::to_string(value));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    return Value(text, [value] { return json(value); });
  }
  bool string(string_t& value) override {
    if (mode_ == Mode::kMerges) {
      if (document_->merges_are_pairs && document_->merges.size() > 0) {
        return Refuse("want pairs all through, found a string");
      }
      document_->merges.Add(value);
      return true;
    }
    if (mode_ == Mode::kMergePair) {
      ++pair_size_;
      document_->merges.Add(value);
      return pair_size_ <= 2 || Refuse("want pairs, found a longer list");
    }
    return Value(Quote(value), [&value] { return json(std::move(value)); });
  }
  bool binary(binary_t&) override { return Refuse("want JSON, found binary data"); }

  bool start_object(size_t) override {
    if (mode_ == Mode::kDom && PlaceIs("vocab") && stack_.size() == 2) {
      Put(json(nullptr));  // so that a second one is seen
      mode_ = Mode::kVocab;
      document_->has_vocab = true;
      return true;
    }
    return Open(json::object(), "an object");
  }
  bool end_object() override {
    if (mode_ == Mode::kVocab) {
      mode_ = Mode::kDom;
      return true;
    }
    return Close();
  }
  bool start_array(size_t) override {
    if (mode_ == Mode::kDom && PlaceIs("merges") && stack_.size() == 2) {
      Put(json(nullptr));
      mode_ = Mode::kMerges;
      document_->has_merges = true;
      return true;
    }
    if (mode_ == Mode::kMerges) {
      if (!document_->merges_are_pairs && document_->merges.size() > 0) {
        return Refuse("want strings all through, found a list");
      }
      document_->merges_are_pairs = true;
      mode_ = Mode::kMergePair;
      pair_size_ = 0;
      return true;
    }
    return Open(json::array(), "an array");
  }
  bool end_array() override {
    if (mode_ == Mode::kMergePair) {
      mode_ = Mode::kMerges;
      return pair_size_ == 2 || Refuse("want pairs, found a shorter list");
    }
    if (mode_ == Mode::kMerges) {
      mode_ = Mode::kDom;
      return true;
    }
    return Close();
  }
  bool key(string_t& value) override {
    if (mode_ == Mode::kVocab) {
      document_->vocab_tokens.Add(value);
      return true;
    }
    key_ = value;
    keys_.back() = value;
    if (stack_.back()->contains(value)) return Refuse("want one value, found the key twice");
    return true;
  }
  bool parse_error(size_t position, const std::string&, const json::exception& e) override {
    if (!status_.ok()) return false;
    // The library's words stand behind its "[json.exception...] " tag and the position.
    std::string what = e.what();
    const size_t cut = what.find(": ");
    if (cut != std::string::npos) what = what.substr(cut + 2);
    for (char& c : what) {
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    }
    status_ = InvalidArgument(
        "tokenizer.json: byte " + std::to_string(position) + ": want JSON, found " +
        ReplaceInvalidUtf8(std::string_view(what).substr(0, 200)) + " (" + name_ + ")");
    return false;
  }

 private:
  enum class Mode { kDom, kVocab, kMerges, kMergePair };

  std::string Place() const {
    if (mode_ == Mode::kVocab) return "model.vocab";
    if (mode_ != Mode::kDom) return "model.merges";
    std::string place;
    for (size_t i = 0; i < stack_.size(); ++i) {
      if (stack_[i]->is_array()) {
        place += "[" + std::to_string(stack_[i]->size()) + "]";
      } else {
        place += (place.empty() ? "" : ".") + keys_[i];
      }
    }
    return place;
  }

  bool Refuse(const std::string& text) {
    status_ = InvalidArgument("tokenizer.json: " + Quote(Place(), 200) + ": " + text + " (" +
                              name_ + ")");
    return false;
  }

  // Whether the value that comes is the member `last` of the root's "model".
  bool PlaceIs(std::string_view last) const {
    return stack_.size() == 2 && stack_[1]->is_object() && keys_[0] == "model" && key_ == last;
  }

  template <class Make>
  bool Number(int64_t id, Make make, const std::string& shown) {
    if (mode_ != Mode::kVocab) return Value(shown, make);
    if (id < 0) {
      return Refuse("want ids from 0 to " + std::to_string(kMaxTokenId) + ", found " + shown);
    }
    document_->vocab_ids.push_back(static_cast<TokenId>(id));
    return true;
  }

  template <class Make>
  bool Value(const std::string& shown, Make make) {
    if (mode_ == Mode::kVocab) {
      return Refuse("want ids from 0 to " + std::to_string(kMaxTokenId) + ", found " + shown);
    }
    if (mode_ != Mode::kDom) return Refuse("want merges, found " + shown);
    Put(make());
    return true;
  }

  // Puts a value where the parse stands; where it now is.
  json* Put(json value) {
    if (stack_.empty()) {
      document_->rest = std::move(value);
      return &document_->rest;
    }
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    json& slot = parent[key_];
    slot = std::move(value);
    return &slot;
  }

  bool Open(json empty, const std::string& shown) {
    if (mode_ == Mode::kVocab) {
      return Refuse("want ids from 0 to " + std::to_string(kMaxTokenId) + ", found " + shown);
    }
    if (mode_ != Mode::kDom) return Refuse("want merges, found " + shown);
    if (stack_.size() >= kMaxDepth) {
      return Refuse("want at most " + std::to_string(kMaxDepth) + " levels, found more");
    }
    stack_.push_back(Put(std::move(empty)));
    keys_.emplace_back();
    return true;
  }

  bool Close() {
    stack_.pop_back();
    keys_.pop_back();
    if (!keys_.empty()) key_ = keys_.back();
    return true;
  }

  TokenizerDocument* document_;
  const std::string& name_;
  Status status_;
  Mode mode_ = Mode::kDom;
  // The open containers, and the key last read in each of them.
  std::vector<json*> stack_;
  std::vector<std::string> keys_;
  std::string key_;
  int pair_size_ = 0;
};

}  // namespace

Result<TokenizerDocument> ReadTokenizerDocument(std::string_view text, const std::string& name) {
  if (text.size() > kMaxBytes) {
    return InvalidArgument("tokenizer.json: want at most " + std::to_string(kMaxBytes) +
                           " bytes, found " + std::to_string(text.size()) + " (" + name + ")");
  }
  if (const Status bytes = CheckJsonBytes(text); !bytes.ok()) {
    return InvalidArgument("tokenizer.json: " + bytes.message() + " (" + name + ")");
  }
  TokenizerDocument document;
  Reader reader(&document, name);
  const bool parsed = json::sax_parse(text.begin(), text.end(), &reader);
  RETURN_IF_ERROR(reader.status());
  if (!parsed)
    return InvalidArgument("tokenizer.json: want JSON, found something else (" + name + ")");
  return document;
}

}  // namespace onepass
