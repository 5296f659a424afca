#include "world/layout.h"

namespace onepass {
namespace {

using Words = std::span<const std::string_view>;

constexpr std::string_view kAnswer[] = {
    "Answer the question.", "Give a short answer to the question.", "Read the text and answer.",
    "Find the answer in the text."};
constexpr std::string_view kAnswerSeveral[] = {
    "Answer each question.", "Answer all questions about the text.",
    "Read the text, then answer one question after another."};
constexpr std::string_view kFacts[] = {"List the facts that help to answer the question.",
                                       "Which facts of the text does the question need?",
                                       "Write down the facts needed for the answer.",
                                       "Do not answer. Give only the facts that help."};
constexpr std::string_view kFactsSeveral[] = {
    "List the facts that help to answer each question.",
    "For each question write down the facts that it needs."};
constexpr std::string_view kSteps[] = {"Answer in two steps.", "Give the answer of each step.",
                                       "Name what is between, then the answer."};
constexpr std::string_view kComplete[] = {"Complete the sentence.",
                                          "Finish the sentence with the help of the text.",
                                          "Write the end of the sentence."};
constexpr std::string_view kQuote[] = {"Copy the sentence that answers the question.",
                                       "Quote the text where it answers the question."};
constexpr std::string_view kRestate[] = {"Restate each fact plainly.",
                                         "Write the text in plain words.",
                                         "Turn each sentence into a plain fact."};
constexpr std::string_view kCopy[] = {"Copy the text.", "Repeat the text word for word.",
                                      "Write the same text again."};
constexpr std::string_view kNext[] = {"Write the start of the next fact that the question needs.",
                                      "Which fact is needed next? Write its start.",
                                      "Give the next step of the question."};
constexpr std::string_view kRecall[] = {"Find the fact that begins so and write it whole.",
                                        "Recall the fact of which this is the start.",
                                        "Write the whole fact from the text."};
constexpr std::string_view kFill[] = {"Write only what completes the sentence.",
                                      "Which words of the text complete the sentence?"};
constexpr std::string_view kConclude[] = {
    "Write the answer, or the start of the fact that is needed next.",
    "If the facts are enough, give the answer, else the next step."};
constexpr std::string_view kCombine[] = {"Combine the facts into one answer.",
                                         "Answer from all the facts together.",
                                         "Answer the question about both."};

constexpr std::string_view kNone[] = {""};
constexpr std::string_view kTextLabels[] = {"Text:", "Documents:", "Passage:", "Read this:", ""};
constexpr std::string_view kQuestionLabels[] = {"Question:", "Q:", "Asked:", "Query:", ""};
constexpr std::string_view kSentenceLabels[] = {"Sentence:", "Start:"};
// None is empty: behind a line break nothing else tells that the output begins.
constexpr std::string_view kAnswerLabels[] = {"Answer:", "A:", "Reply:", "=>", "<bos>"};
constexpr std::string_view kFactsLabels[] = {"Facts:", "Notes:", "Help:", "=>", "<bos>"};
constexpr std::string_view kNextLabels[] = {"Next:", "Step:", "Needed:", "=>", "<bos>"};
constexpr std::string_view kRecallLabels[] = {"Fact:", "Found:", "Result:", "=>", "<bos>"};
constexpr std::string_view kThenLabels[] = {"Fact:", "Known:", "Found:"};
constexpr std::string_view kPlainLabels[] = {"Result:", "Output:", "=>", "<bos>"};

struct AskWords {
  Words instructions;
  Words question_labels;
  Words output_labels;
};

AskWords WordsOf(Ask ask) {
  switch (ask) {
    case Ask::kAnswer:
      return {kAnswer, kQuestionLabels, kAnswerLabels};
    case Ask::kAnswerSeveral:
      return {kAnswerSeveral, kQuestionLabels, kAnswerLabels};
    case Ask::kFacts:
      return {kFacts, kQuestionLabels, kFactsLabels};
    case Ask::kFactsSeveral:
      return {kFactsSeveral, kQuestionLabels, kFactsLabels};
    case Ask::kSteps:
      return {kSteps, kQuestionLabels, kPlainLabels};
    case Ask::kComplete:
      return {kComplete, kSentenceLabels, kNone};
    case Ask::kQuote:
      return {kQuote, kQuestionLabels, kPlainLabels};
    case Ask::kRestate:
      return {kRestate, kNone, kPlainLabels};
    case Ask::kCopy:
      return {kCopy, kNone, kPlainLabels};
    case Ask::kNext:
      return {kNext, kQuestionLabels, kNextLabels};
    case Ask::kRecall:
      return {kRecall, kSentenceLabels, kRecallLabels};
    case Ask::kFill:
      return {kFill, kSentenceLabels, kAnswerLabels};
    case Ask::kConclude:
      return {kConclude, kQuestionLabels, kNextLabels};
    case Ask::kCombine:
      return {kCombine, kQuestionLabels, kAnswerLabels};
  }
  return {kAnswer, kQuestionLabels, kAnswerLabels};
}

}  // namespace

std::span<const std::string_view> InstructionsOf(Ask ask) { return WordsOf(ask).instructions; }

Layout::Layout(Ask ask, Rng& rng) : ask_(ask) {
  const AskWords words = WordsOf(ask);
  const bool from_start = ask == Ask::kRecall || ask == Ask::kFill;
  question_first_ = rng.Chance(from_start ? 0.5 : 0.25);
  instruction_last_ = rng.Chance(0.1);
  instruction_ = rng.Pick(words.instructions);
  text_label_ = rng.Pick(kTextLabels);
  question_label_ = rng.Pick(words.question_labels);
  output_label_ = rng.Pick(words.output_labels);
  if (ask == Ask::kNext) then_label_ = rng.Pick(kThenLabels);
  // Only plain answering may go without instruction, and then it has labels that tell it apart.
  const bool labelled = !question_label_.empty() && output_label_ != "<bos>";
  if ((ask == Ask::kAnswer || ask == Ask::kAnswerSeveral) && labelled && rng.Chance(0.2))
    instruction_ = "";
}

std::string Layout::QuestionLine(std::string_view question) const {
  std::string line(question_label_);
  if (!line.empty() && question.front() != ' ') line += ' ';
  return line.append(question);
}

std::string Layout::TextBlock(std::string_view text) const {
  std::string block(text_label_);
  if (!block.empty() && text.front() != ' ') block += '\n';
  return block.append(text);
}

std::string Layout::Prompt(std::string_view text, std::string_view question, Rng& rng) const {
  std::vector<std::string> blocks;
  if (!text.empty()) blocks.push_back(TextBlock(text));
  // A sentence to be completed is its own label of the output: it comes last.
  const bool question_before = question_first_ && ask_ != Ask::kComplete;
  if (!question.empty())
    blocks.insert(question_before ? blocks.begin() : blocks.end(), QuestionLine(question));
  if (!instruction_.empty()) {
    const bool last = instruction_last_ && ask_ != Ask::kComplete;
    blocks.insert(last ? blocks.end() : blocks.begin(), std::string(instruction_));
  }
  std::string prompt;
  const std::string_view separator = rng.Chance(0.85) ? "\n" : "\n\n";
  for (const std::string& block : blocks) {
    if (!prompt.empty()) prompt += separator;
    prompt += block;
  }
  if (ask_ == Ask::kComplete) return prompt;
  return prompt.append(separator).append(output_label_);
}

std::string Layout::Then(std::string_view text) const {
  return ('\n' + std::string(then_label_)).append(text).append("\n").append(output_label_);
}

std::string Layout::Turn(std::string_view question) const {
  return '\n' + QuestionLine(question).append("\n").append(output_label_);
}

}  // namespace onepass
