#include "world/documents.h"

#include <cstddef>
#include <string_view>

namespace onepass {
namespace {

enum class Heading { kDocument, kText, kBrackets, kSubject, kCount };

std::string MakeHeading(Heading style, size_t number, const Document& document, Rng& rng) {
  const std::string digits = std::to_string(number);
  switch (style) {
    case Heading::kDocument:
      return "Document " + digits + ":";
    case Heading::kText:
      return "Text " + digits + ":";
    case Heading::kBrackets:
      return "[" + digits + "]";
    default:
      return "About " + rng.Pick(document.facts).subject + ":";
  }
}

}  // namespace

std::string WritePassage(const std::vector<Fact>& facts, Rng& rng) {
  std::string text;
  for (const Fact& fact : facts) text += ' ' + ParaphrasedSentence(fact, rng);
  return text;
}

std::string WriteSummary(const std::vector<Fact>& facts) {
  std::string text;
  for (const Fact& fact : facts) text += ' ' + CanonicalSentence(fact);
  return text;
}

MicroWorld DrawDocumentWorld(Split split, Rng& rng) {
  constexpr int kFewestFacts = 12;
  while (true) {
    MicroWorldOptions options;
    options.split = split;
    options.person_count = static_cast<int>(rng.UniformInt(2, 3));
    options.company_count = 2;
    options.city_count = static_cast<int>(rng.UniformInt(2, 3));
    options.fact_count = static_cast<int>(rng.UniformInt(kFewestFacts, 16));
    MicroWorld world = DrawMicroWorld(options, rng);
    if (world.facts.size() >= kFewestFacts) return world;
  }
}

std::vector<Document> WriteDocuments(const MicroWorld& world, int document_count, Rng& rng) {
  std::vector<std::string> subjects = world.entities;
  rng.Shuffle(subjects);
  std::vector<Document> drafts(static_cast<size_t>(document_count));
  for (size_t i = 0; i < subjects.size(); ++i) {
    Document& draft = drafts[i % drafts.size()];
    for (const Fact& fact : world.facts) {
      if (fact.subject == subjects[i]) draft.facts.push_back(fact);
    }
  }
  rng.Shuffle(drafts);
  const auto style = static_cast<Heading>(rng.Uniform(static_cast<uint64_t>(Heading::kCount)));
  std::vector<Document> documents;
  for (Document& draft : drafts) {
    if (draft.facts.empty()) continue;
    rng.Shuffle(draft.facts);
    draft.heading = MakeHeading(style, documents.size() + 1, draft, rng);
    draft.text = draft.heading + WritePassage(draft.facts, rng);
    documents.push_back(std::move(draft));
  }
  return documents;
}

std::string JoinDocuments(const std::vector<Document>& documents) {
  std::string text;
  for (const Document& document : documents) {
    if (!text.empty()) text += '\n';
    text += document.text;
  }
  return text;
}

}  // namespace onepass
