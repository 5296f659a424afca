// Inside this module alone: the one tokenisation of documents and queries, and the border at which
// Xapian's exceptions become a Status.
#pragma once

#include <xapian.h>

#include <exception>
#include <string>
#include <string_view>

#include "core/quote.h"
#include "core/status.h"

namespace onepass {

// Counts a text's words into a Xapian document, for an index and for a query alike.
// Thread-compatible. Its functions throw as Xapian does.
class WordCounter {
 public:
  // stem: one of StemLanguages(), or empty.
  explicit WordCounter(const std::string& stem) {
    generator_.set_flags(Xapian::TermGenerator::FLAG_CJK_NGRAM);
    if (stem.empty()) return;
    generator_.set_stemmer(Xapian::Stem(stem));
    // The stem in place of the word: a document's length stays the number of its words.
    generator_.set_stemming_strategy(Xapian::TermGenerator::STEM_ALL);
  }

  // *document's count of each word += its occurrences in `text`.
  void Count(std::string_view text, Xapian::Document* document) {
    generator_.set_document(*document);
    generator_.index_text_without_positions(Xapian::Utf8Iterator(text.data(), text.size()));
    *document = generator_.get_document();
  }

 private:
  Xapian::TermGenerator generator_;
};

// Runs `work`, a function that returns Status; what it throws becomes a Status at `place`.
template <class Work>
Status CatchXapian(const std::string& place, const Work& work) {
  const auto message = [&](const std::string& wanted, const std::string& found) {
    return place + ": want " + wanted + ", found " + Quote(found, 200);
  };
  try {
    return work();
  } catch (const Xapian::DatabaseCorruptError& error) {
    return InvalidArgument(message("an undamaged index", error.get_msg()));
  } catch (const Xapian::Error& error) {
    const char* reason = error.get_error_string();
    return IoError(
        message("to read or write the index's data",
                error.get_msg() + (reason == nullptr ? "" : std::string(": ") + reason)));
  } catch (const std::exception& error) {
    return IoError(message("to read or write the index's data", error.what()));
  }
}

// Whether Xapian knows the language `stem`, or it is empty.
bool IsStemLanguage(const std::string& stem);

}  // namespace onepass
