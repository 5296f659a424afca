#include "chain/transcript.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chain/tiny_chain_for_test.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TranscriptTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = ParseTokenizerJson(TinyTokenizerJson(), "tiny");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    tokenizer_ = std::move(tokenizer).value();
  }
  std::vector<TokenId> Encode(std::vector<TemplatePiece> pieces) {
    return TemplateEncoder(*tokenizer_).Encode(pieces);
  }
  Result<ChainTemplates> Templates(const ChainSpec& spec) {
    ASSIGN_OR_RETURN(const ChainVocabulary vocabulary,
                     ChainVocabulary::Create(spec, *tokenizer_, 263));
    return ChainTemplates::Create(spec, vocabulary);
  }
  std::unique_ptr<const Tokenizer> tokenizer_;
};

TEST_F(TranscriptTest, SpecialTokensAreThoseOfTheTemplateOnly) {
  EXPECT_THAT(Encode({{false, "<bos>a"}, {true, "<eos>"}, {false, "b<eos>"}}),
              ElementsAre(259, 'a', '<', 'e', 'o', 's', '>', 'b', 260));
  // Nor can a literal and a field together spell one.
  EXPECT_THAT(Encode({{false, "<e"}, {true, "os>"}}), ElementsAre('<', 'e', 'o', 's', '>'));
}

TEST_F(TranscriptTest, MergesCrossTheBordersOfFields) {
  EXPECT_THAT(Encode({{false, "t"}, {true, "h"}, {false, "e"}}), ElementsAre(258));
  EXPECT_THAT(Encode({{false, "t"}, {false, "<bos>"}, {true, "he"}}), ElementsAre('t', 259, 256));
}

TEST(Template, BracesAreDoubledAndNamesAreChecked) {
  const Result<std::vector<TemplatePiece>> pieces = ParseTemplate("a{{{B c}}}d");
  ASSERT_TRUE(pieces.ok()) << pieces.status().message();
  ASSERT_EQ(pieces->size(), 3u);
  EXPECT_EQ((*pieces)[0].text, "a{");
  EXPECT_EQ((*pieces)[1].text, "B c");
  EXPECT_TRUE((*pieces)[1].is_field);
  EXPECT_EQ((*pieces)[2].text, "}d");
  EXPECT_TRUE(ParseTemplate("")->empty());
  EXPECT_THAT(ParseTemplate("ab{}").status().message(), HasSubstr("byte 3"));
  EXPECT_FALSE(ParseTemplate("}").ok());
  EXPECT_FALSE(ParseTemplate("{a").ok());
  EXPECT_FALSE(ParseTemplate("{a{b}").ok());
  EXPECT_FALSE(ParseTemplate("{a\nb}").ok());
  EXPECT_FALSE(ParseTemplate("{" + std::string(300, 'a') + "}").ok());
}

ChainSpec TwoStages() {
  ChainSpec spec;
  spec.file = "c.yaml";
  spec.shared = "{Q}\n";
  spec.stages.resize(2);
  spec.stages[0] = {
      .name = "a", .input = "{D}", .read_as = "<note>{text}</note>", .start = "<bos>"};
  spec.stages[1] = {.name = "b", .start = "<bos>"};
  spec.stages[0].stop_tokens = spec.stages[1].stop_tokens = {"<eos>"};
  return spec;
}

TEST_F(TranscriptTest, APlansTokensAreThoseOfTeacherForcing) {
  const Result<Record> record = ParseRecord(R"({"Q": "q", "D": "d<eos>"})", 1, 1);
  const std::vector<std::string> outputs = {"x<eos>", "y"};
  ChainSpec spec = TwoStages();
  Result<Plan> plan = CompilePlan(spec, {4, 5});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const Transcript transcript{.record = &*record, .texts = {outputs[0], outputs[1]}};
  const Result<ChainTemplates> templates = Templates(spec);
  ASSERT_TRUE(templates.ok()) << templates.status().message();
  auto tokens = TokensOfPlan(*templates, *plan, transcript);
  ASSERT_TRUE(tokens.ok()) << tokens.status().message();
  // P_a P_b S I_a O_a O_b
  EXPECT_THAT(*tokens,
              ElementsAre(ElementsAre(), ElementsAre(), ElementsAre('q', '\n'),
                          ElementsAre('d', '<', 'e', 'o', 's', '>'),
                          ElementsAre(259, 'x', '<', 'e', 'o', 's', '>'), ElementsAre(259, 'y')));

  spec.handoff = Handoff::kTextCached;
  plan = CompilePlan(spec, {4, 5});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  tokens = TokensOfPlan(*templates, *plan, transcript);
  ASSERT_TRUE(tokens.ok());
  // P_a P_b S I_a O_a R_b O_b
  ASSERT_EQ(tokens->size(), 7u);
  EXPECT_THAT((*tokens)[5], ElementsAre(261, 'x', '<', 'e', 'o', 's', '>', 262));
}

TEST_F(TranscriptTest, AddedTokensStandBehindTheBases) {
  ChainSpec spec = TwoStages();
  spec.stages[0].added_tokens = {"<x>", "</x>"};
  spec.stages[1].added_tokens = {"<y>", "<x>"};
  spec.stages[0].start = spec.stages[1].start = "<x>";
  spec.stages[0].stop_tokens = {"</x>"};
  spec.stages[1].input = "<y></x><bos>{D}";
  spec.stages[0].read_as = "<x>{text}</x>";
  const Result<ChainVocabulary> vocabulary = ChainVocabulary::Create(spec, *tokenizer_, 300);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status().message();
  EXPECT_EQ(vocabulary->added_count(), 4);
  EXPECT_EQ(vocabulary->StageOf(301), 0);
  EXPECT_EQ(vocabulary->StageOf(302), 1);
  const Result<ChainTemplates> templates = ChainTemplates::Create(spec, *vocabulary);
  ASSERT_TRUE(templates.ok()) << templates.status().message();
  // Each stage's own first.
  EXPECT_THAT(templates->StartTokens(0), ElementsAre(300));
  EXPECT_THAT(templates->StartTokens(1), ElementsAre(303));
  EXPECT_THAT(templates->StopTokens(0), ElementsAre(301));
  const Result<Record> record = ParseRecord(R"({"Q": "<x>", "D": "<y>"})", 1, 1);
  const Result<Plan> kv = CompilePlan(spec, {4, 5});
  ASSERT_TRUE(kv.ok());
  const Result<InputTokens> inputs = templates->RenderInputs(*kv, *record);
  ASSERT_TRUE(inputs.ok());
  EXPECT_THAT(inputs->own[1], ElementsAre(302, 301, 259, '<', 'y', '>'));
  // A field's text and an output's never are one.
  EXPECT_THAT(inputs->shared, ElementsAre('<', 'x', '>', '\n'));
  EXPECT_THAT(templates->OutputText("<x>"), ElementsAre('<', 'x', '>'));
  // Text that is read again is read with the reader's tokens.
  spec.handoff = Handoff::kText;
  const Result<Plan> plan = CompilePlan(spec, {4, 5});
  const Transcript transcript{.record = &*record, .texts = {"a", "b"}};
  const auto tokens = TokensOfPlan(*templates, *plan, transcript);
  ASSERT_TRUE(tokens.ok());
  EXPECT_THAT(tokens->end()[-2], ElementsAre(303, 'a', 301, 302, 301, 259, '<', 'y', '>'));

  spec.stages[1].stop_tokens = {"</x>"};  // the other stage's
  EXPECT_THAT(ChainTemplates::Create(spec, *vocabulary).status().message(),
              HasSubstr("stage \"b\": stop_tokens: want tokens of the base"));
  spec.stages[1].added_tokens = {"<bos>"};
  EXPECT_EQ(ChainVocabulary::Create(spec, *tokenizer_, 300).status().message(),
            "c.yaml: stage \"b\": added_tokens: want tokens that the base does not have, found "
            "\"<bos>\"");
}

TEST_F(TranscriptTest, TokensThatTheBaseLacksAreRefused) {
  ChainSpec spec = TwoStages();
  spec.stages[1].stop_tokens = {"</s>"};
  EXPECT_EQ(
      Templates(spec).status().message(),
      "c.yaml: stage \"b\": stop_tokens: want tokens of the base's tokenizer, found \"</s>\", "
      "which it does not have");
  spec = TwoStages();
  spec.stages[0].start = "<s>";
  EXPECT_THAT(Templates(spec).status().message(),
              HasSubstr("stage \"a\": start: want a token of the base's tokenizer"));
}

TEST_F(TranscriptTest, AStartOfWhichNoTokensComeIsRefused) {
  std::string json = TinyTokenizerJson();
  const std::string none = "\"normalizer\":null";
  json.replace(json.find(none), none.size(),
               R"("normalizer":{"type":"Strip","strip_left":true,"strip_right":true})");
  const auto strips = ParseTokenizerJson(json, "strips");
  ASSERT_TRUE(strips.ok()) << strips.status().message();
  ChainSpec spec = TwoStages();
  spec.stages[1].start = " \n";
  EXPECT_EQ(ChainTemplates::Create(spec, *ChainVocabulary::Create(spec, **strips, 263))
                .status()
                .message(),
            "c.yaml: stage \"b\": start: want a text that has tokens, found \" \\n\", of which the "
            "base's tokenizer makes none");
}

}  // namespace
}  // namespace onepass
