// A plain search over a corpus, to measure which texts find which documents.
#pragma once

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "world/corpus.h"

namespace onepass {

// Lower-case words and their number in a text.
inline std::map<std::string, int> Terms(std::string_view text) {
  std::map<std::string, int> terms;
  std::string word;
  for (const char c : std::string(text) + ' ') {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!word.empty()) {
      ++terms[word];
      word.clear();
    }
  }
  return terms;
}

// BM25 over the documents' texts (k1 1.2, b 0.75), each word of a query counted once.
class Search {
 public:
  explicit Search(const Corpus& corpus) : corpus_(corpus) {
    for (const CorpusDocument& document : corpus.documents()) {
      terms_.push_back(Terms(document.text));
      double length = 0;
      for (const auto& [term, count] : terms_.back()) {
        ++holders_[term];
        length += count;
      }
      lengths_.push_back(length);
      mean_length_ += length / static_cast<double>(corpus.documents().size());
    }
  }

  // Whether the document is among the first `rank` that the query finds.
  bool Finds(const std::string& id, std::string_view query, int rank) const {
    const std::map<std::string, int> terms = Terms(query);
    double wanted = 0;
    std::vector<double> scores;
    for (size_t i = 0; i < terms_.size(); ++i) {
      scores.push_back(Score(i, terms));
      if (corpus_.documents()[i].id == id) wanted = scores.back();
    }
    return wanted > 0 &&
           std::ranges::count_if(scores, [&](double score) { return score > wanted; }) < rank;
  }

 private:
  double Score(size_t place, const std::map<std::string, int>& query) const {
    double score = 0;
    for (const auto& [term, unused] : query) {
      const auto found = terms_[place].find(term);
      if (found == terms_[place].end()) continue;
      const double holders = holders_.at(term);
      const double count = found->second;
      const double idf =
          std::log(1 + (static_cast<double>(terms_.size()) - holders + 0.5) / (holders + 0.5));
      score += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * lengths_[place] / mean_length_));
    }
    return score;
  }

  const Corpus& corpus_;
  std::vector<std::map<std::string, int>> terms_;
  std::map<std::string, double> holders_;
  std::vector<double> lengths_;
  double mean_length_ = 0;
};

}  // namespace onepass
