// How a pretraining prompt is laid out: which instruction, which labels, what comes first. Words
// only, no facts.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"

namespace onepass {

// What the prompt asks for; each has its own instructions.
enum class Ask {
  kAnswer,
  kAnswerSeveral,
  kFacts,
  kFactsSeveral,
  kSteps,
  kComplete,
  kQuote,
  kRestate,
  kCopy,
  kNext,
  kRecall,
  kFill,
  kConclude,
  kCombine
};

// What one of which begins, or ends, a prompt that asks for this.
std::span<const std::string_view> InstructionsOf(Ask ask);

// The labels of one sample, drawn once so that several turns agree.
class Layout {
 public:
  Layout(Ask ask, Rng& rng);

  // Instruction (unless this sample has none), text and question in this layout's order, then the
  // label of the output. Either of text and question may be empty. The text begins with a space or
  // with a heading; where a question may begin with a name, it has a space before it.
  std::string Prompt(std::string_view text, std::string_view question, Rng& rng) const;

  // A later turn: question and label of the output only, on a new line.
  std::string Turn(std::string_view question) const;

  // After an output: another text, then the label of the next output. REQUIRES: Ask::kNext.
  std::string Then(std::string_view text) const;

  void PutTextFirst() { question_first_ = false; }

 private:
  std::string QuestionLine(std::string_view question) const;
  std::string TextBlock(std::string_view text) const;

  Ask ask_;
  bool question_first_;
  bool instruction_last_;
  std::string_view instruction_;
  std::string_view text_label_;
  std::string_view question_label_;
  std::string_view output_label_;
  std::string_view then_label_;
};

}  // namespace onepass
