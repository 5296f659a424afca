// Texts that state the facts of a micro-world: one passage, or several headed documents, one a
// line.
#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "world/facts.h"

namespace onepass {

// One document: a heading ("Document 2:", "About Maria Bolton:" ...), then sentences, each after a
// space.
struct Document {
  std::string heading;
  std::vector<Fact> facts;  // in the order of their sentences
  std::string text;         // heading and sentences, no newline
};

// A world for four or five documents: 12 to 16 facts about six to eight entities.
MicroWorld DrawDocumentWorld(Split split, Rng& rng);

// Spreads the facts over at most `document_count` documents. Facts about one subject stay in one
// document; a document may speak of several subjects. Order of documents and of sentences is
// random. No document is empty.
std::vector<Document> WriteDocuments(const MicroWorld& world, int document_count, Rng& rng);

// The documents' texts, joined by newlines.
std::string JoinDocuments(const std::vector<Document>& documents);

// Paraphrased sentences in the given order, each preceded by a space.
std::string WritePassage(const std::vector<Fact>& facts, Rng& rng);

// Canonical sentences in the given order, each preceded by a space: the form of every summary.
std::string WriteSummary(const std::vector<Fact>& facts);

}  // namespace onepass
