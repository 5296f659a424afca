#include "retrieval/xapian_words.h"

#include <algorithm>
#include <sstream>
#include <vector>

#include "retrieval/bm25_index_builder.h"

namespace onepass {
namespace {

std::vector<std::string> Languages() {
  std::istringstream list(Xapian::Stem::get_available_languages());
  std::vector<std::string> languages;
  for (std::string name; list >> name;) languages.push_back(name);
  std::ranges::sort(languages);
  return languages;
}

}  // namespace

bool IsStemLanguage(const std::string& stem) {
  return stem.empty() || std::ranges::count(Languages(), stem) > 0;
}

std::string StemLanguages() {
  std::string names;
  for (const std::string& name : Languages()) names += (names.empty() ? "" : ", ") + name;
  return names;
}

}  // namespace onepass
