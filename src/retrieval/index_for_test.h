// A folder for a test's indexes, and BM25 computed plainly, for comparison.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "retrieval/bm25_index.h"
#include "retrieval/bm25_index_builder.h"

namespace onepass {

class IndexTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "onepass-index-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string At(const std::string& name) const { return dir_ + "/" + name; }
  void Put(const std::string& name, const std::string& text) const {
    std::ofstream(At(name), std::ios::binary) << text;
  }
  std::string Get(const std::string& name) const { return std::move(ReadFile(At(name))).value(); }

  // Everything below dir_, as paths from there.
  std::vector<std::string> Entries() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_)) {
      names.push_back(std::filesystem::relative(entry.path(), dir_));
    }
    std::ranges::sort(names);
    return names;
  }

  static Status BuildAt(const std::string& folder, const std::vector<IndexDocument>& documents,
                        const Bm25BuildOptions& options = {}) {
    ASSIGN_OR_RETURN(const auto builder, Bm25IndexBuilder::Create(folder, options));
    for (const IndexDocument& document : documents) RETURN_IF_ERROR(builder->Add(document));
    return builder->Finish().status();
  }

  // An index "NAME" of texts with the ids "0", "1", ...
  std::unique_ptr<Bm25Index> Build(const std::string& name, const std::vector<std::string>& texts,
                                   const Bm25BuildOptions& options = {}) const {
    std::vector<IndexDocument> documents;
    for (const std::string& text : texts) {
      documents.push_back({.id = std::to_string(documents.size()), .text = text});
    }
    const Status built = BuildAt(At(name), documents, options);
    EXPECT_TRUE(built.ok()) << built.message();
    return Open(name);
  }
  std::unique_ptr<Bm25Index> Open(const std::string& name) const {
    auto index = Bm25Index::Open(At(name));
    EXPECT_TRUE(index.ok()) << index.status().message();
    return index.ok() ? std::move(index).value() : nullptr;
  }

  // The hits' ids with a space between them.
  static std::string Ids(Bm25Index& index, std::string_view query,
                         const Bm25SearchOptions& options = {.top = 100}) {
    const auto hits = index.Search(query, options);
    EXPECT_TRUE(hits.ok()) << hits.status().message();
    std::string ids;
    for (const Hit& hit : *hits) ids += (ids.empty() ? "" : " ") + hit.id;
    return ids;
  }

  std::string dir_;
};

// Words of lower-case letters with single spaces between them.
inline std::vector<std::string> PlainWords(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : std::string(text) + " ") {
    if (c != ' ') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

// The formula at Bm25Weights, term by term. One score a text, 0 where no word is shared.
inline std::vector<double> PlainBm25(const std::vector<std::string>& texts, std::string_view query,
                                     const Bm25Weights& weights) {
  const double n = static_cast<double>(texts.size());
  std::vector<std::map<std::string, double>> counts(texts.size());
  std::vector<double> lengths(texts.size());
  std::map<std::string, double> holders;
  for (size_t d = 0; d < texts.size(); ++d) {
    for (const std::string& word : PlainWords(texts[d])) {
      ++counts[d][word];
      ++lengths[d];
    }
    for (const auto& [word, count] : counts[d]) ++holders[word];
  }
  const double mean = std::accumulate(lengths.begin(), lengths.end(), 0.0) / n;
  std::vector<double> scores(texts.size());
  for (const std::string& word : PlainWords(query)) {
    const double odds = (n - holders[word] + 0.5) / (holders[word] + 0.5);
    const double idf = odds >= 2 ? std::log(odds) : std::log(1 + odds / 2);
    for (size_t d = 0; d < texts.size(); ++d) {
      const double f = counts[d][word];
      if (f == 0) continue;
      scores[d] += idf * (weights.k1 + 1) * f /
                   (f + weights.k1 * (1 - weights.b + weights.b * lengths[d] / mean));
    }
  }
  return scores;
}

}  // namespace onepass
