#include "chain/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chain/plan.h"
#include "chain/yaml.h"

namespace onepass {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr char kFull[] = R"(# a comment
name: compress and answer
base: ../base
placement: inline
handoff: text
shared: "{I_ALL}\n"
overlong: cut
cut_field: I_A
api: {prompt: I_ALL, system: I_A}
stages:
  - name: compress
    prompt: prompts/compress
    input: "{I_A}\n{{kept}}"
    read_as: "<note>{text}</note>\n"
    start: <bos>
    stop_tokens: [<eos>]
    stop_strings: ["\n\n", "END"]
    max_tokens: 64
    sampling: {temperature: 0.7, top_k: 5, top_p: 0.9, seed: 12}
  - name: answer
    prompt: /abs/answer
    start: <bos>
    reads: [compress]
    handoff: kv
)";

std::string SpecFaultOf(const std::string& yaml) {
  const Result<ChainSpec> spec = ParseChainSpec(yaml, "dir/c.yaml");
  return spec.ok() ? "" : spec.status().message();
}

std::string With(const std::string& extra) {
  return "base: b\n" + extra + "stages:\n  - {name: a, start: x}\n";
}

TEST(ChainSpec, ReadsEveryKey) {
  const Result<ChainSpec> spec = ParseChainSpec(kFull, "dir/c.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_EQ(spec->name, "compress and answer");
  EXPECT_EQ(spec->base, "base");
  EXPECT_EQ(spec->placement, Placement::kInline);
  EXPECT_EQ(spec->handoff, Handoff::kText);
  EXPECT_EQ(spec->shared, "{I_ALL}\n");
  EXPECT_EQ(spec->overlong, Overlong::kCut);
  EXPECT_EQ(spec->cut_field, "I_A");
  EXPECT_EQ(spec->api.prompt, "I_ALL");
  EXPECT_EQ(spec->api.system, "I_A");
  ASSERT_EQ(spec->stages.size(), 2u);
  const StageSpec& compress = spec->stages[0];
  EXPECT_EQ(compress.name, "compress");
  EXPECT_EQ(compress.prompt, "dir/prompts/compress");
  EXPECT_EQ(compress.input, "{I_A}\n{{kept}}");
  EXPECT_EQ(compress.read_as, "<note>{text}</note>\n");
  EXPECT_EQ(compress.start, "<bos>");
  EXPECT_THAT(compress.stop_tokens, ElementsAre("<eos>"));
  EXPECT_THAT(compress.stop_strings, ElementsAre("\n\n", "END"));
  EXPECT_FALSE(compress.reads.has_value());
  EXPECT_FALSE(compress.handoff.has_value());
  EXPECT_EQ(compress.max_tokens, 64);
  EXPECT_EQ(compress.sampling.temperature, 0.7);
  EXPECT_EQ(compress.sampling.top_k, 5);
  EXPECT_EQ(compress.sampling.top_p, 0.9);
  EXPECT_EQ(compress.sampling.seed, 12u);
  EXPECT_EQ(spec->stages[1].prompt, "/abs/answer");
  EXPECT_EQ(spec->stages[1].handoff, Handoff::kKv);
  EXPECT_THAT(*spec->stages[1].reads, ElementsAre("compress"));
}

TEST(ChainSpec, DefaultsAreTheMethods) {
  const Result<ChainSpec> spec = ParseChainSpec(With(""), "dir/pair.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_EQ(spec->name, "pair");
  EXPECT_EQ(spec->placement, Placement::kFront);
  EXPECT_EQ(spec->handoff, Handoff::kKv);
  EXPECT_EQ(spec->overlong, Overlong::kRefuse);
  EXPECT_EQ(spec->stages[0].read_as, "{text}\n");
  EXPECT_EQ(spec->stages[0].prompt, "");
}

TEST(ChainSpec, APlainRequestFillsFieldsThatTheTemplatesUse) {
  EXPECT_EQ(SpecFaultOf(With("shared: \"{Q}\"\napi: {prompt: Q}\n")), "");
  EXPECT_EQ(SpecFaultOf(With("shared: \"{Q}\"\napi: {prompt: Q, system: D}\n")),
            "dir/c.yaml: api: want a field that a template uses, found \"D\"");
  EXPECT_NE(SpecFaultOf(With("shared: \"{Q}\"\napi: {user: Q}\n")), "");
}

TEST(ChainSpec, UnknownKeysAreRefusedWithTheNearestAndAllKnown) {
  EXPECT_EQ(
      SpecFaultOf(With("placment: front\n")),
      "dir/c.yaml:2: unknown key \"placment\", did you mean \"placement\"? Known keys: name, "
      "base, placement, handoff, shared, room, overlong, cut_field, api, stages, tools, flow");
  EXPECT_THAT(SpecFaultOf("base: b\nstages:\n  - name: a\n    start: x\n    max_token: 3\n"),
              HasSubstr("dir/c.yaml:5: unknown key \"stages[0].max_token\", did you mean "
                        "\"max_tokens\"?"));
  EXPECT_THAT(SpecFaultOf("base: b\nstages:\n  - name: a\n    sampling: {heat: 1}\n"),
              HasSubstr("dir/c.yaml:4: unknown key \"stages[0].sampling.heat\"; known keys: "
                        "temperature, top_k, top_p, seed"));
}

TEST(ChainSpec, AnInputThatStandsFirstNeedsARoom) {
  const auto fault = [](const std::string& chain, const std::string& stage) {
    return SpecFaultOf("base: b\n" + chain + "stages:\n  - {name: a" + stage + "}\n");
  };
  const std::string first = ", input: \"{I}\", input_first: true";
  EXPECT_EQ(fault("room: 9\n", first), "");
  EXPECT_EQ(fault("", first),
            "dir/c.yaml: stage \"a\": input_first: want a room for it, found room 0");
  EXPECT_EQ(fault("room: 9\n", ", input_first: true"),
            "dir/c.yaml: stage \"a\": input_first: want an input, found none");
  EXPECT_EQ(fault("room: 9\nplacement: inline\n", first),
            "dir/c.yaml: stage \"a\": input_first: want placement front, found inline");
  EXPECT_EQ(fault("room: 9\n", ""), "dir/c.yaml: room: want a stage with input_first, found none");
  EXPECT_THAT(fault("room: -1\n", first), HasSubstr("room: want a whole number 0 to 1048576"));
  EXPECT_EQ(fault("room: 9\n", ", input_first: 1"),
            "dir/c.yaml:4: stages[0].input_first: want true or false, found \"1\"");
}

TEST(ChainSpec, FaultsNameLineKeyWantedAndFound) {
  EXPECT_EQ(SpecFaultOf(With("placement: middle\n")),
            "dir/c.yaml:2: placement: want front or inline, found \"middle\"");
  EXPECT_EQ(SpecFaultOf(With("handoff: [kv]\n")),
            "dir/c.yaml:2: handoff: want a value, found a list");
  EXPECT_EQ(SpecFaultOf(With("handoff: KV\n")),
            "dir/c.yaml:2: handoff: want text, text-cached or kv, found \"KV\"");
  EXPECT_EQ(SpecFaultOf("base: b\nstages:\n  - {name: a, max_tokens: many}\n"),
            "dir/c.yaml:3: stages[0].max_tokens: want a whole number 1 to 1048576, found \"many\"");
  EXPECT_EQ(SpecFaultOf("base: b\nstages:\n  - {name: a, max_tokens: 0}\n"),
            "dir/c.yaml:3: stages[0].max_tokens: want a whole number 1 to 1048576, found \"0\"");
  EXPECT_EQ(SpecFaultOf("base: b\nstages:\n  - {name: a, max_tokens: 99999999999999999999}\n"),
            "dir/c.yaml:3: stages[0].max_tokens: want a whole number 1 to 1048576, found "
            "\"99999999999999999999\"");
  EXPECT_EQ(SpecFaultOf("base: b\nstages:\n  - {name: a, sampling: {top_p: .nan}}\n"),
            "dir/c.yaml:3: stages[0].sampling.top_p: want a number 0 to 1, found \".nan\"");
  EXPECT_EQ(SpecFaultOf("base: b\nstages: 3\n"), "dir/c.yaml:2: stages: want a list, found \"3\"");
  EXPECT_EQ(SpecFaultOf("base: b\nstages: [3]\n"),
            "dir/c.yaml:2: stages[0]: want a map, found \"3\"");
  EXPECT_EQ(SpecFaultOf("stages: []\n"), "dir/c.yaml:1: base: this key is needed and missing");
  EXPECT_EQ(SpecFaultOf("base: b\n"), "dir/c.yaml:1: stages: this key is needed and missing");
  EXPECT_EQ(SpecFaultOf("base: b\nstages: []\n"), "dir/c.yaml: stages: want 1 to 64, found 0");
  EXPECT_EQ(SpecFaultOf(""), "dir/c.yaml: want a map, found nothing");
  EXPECT_EQ(SpecFaultOf("- a\n"), "dir/c.yaml:1: want a map, found a list");
  EXPECT_EQ(SpecFaultOf(With("shared: \"{open\"\n")),
            "dir/c.yaml:2: shared: template: byte 1: want {FIELD} or \"{{\" for a brace, found a "
            "\"{\" that nothing closes");
}

TEST(ChainSpec, AFlowHasStagesAndLoops) {
  const std::string stages = "base: b\nstages:\n  - {name: a}\n  - {name: b, reads: [b]}\n";
  const Result<ChainSpec> spec = ParseChainSpec(
      stages +
          "flow:\n  - loop: [a, b]\n    rounds: 6\n    until: {stage: b, text: 'x+', tokens: 9}\n"
          "  - a\n",
      "dir/c.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  ASSERT_EQ(spec->flow.size(), 2u);
  EXPECT_THAT(spec->flow[0].names, ElementsAre("a", "b"));
  EXPECT_EQ(spec->flow[0].rounds, 6);
  EXPECT_EQ(spec->flow[0].until.text, "x+");
  EXPECT_EQ(spec->flow[0].until.tokens, 9);
  EXPECT_FALSE(spec->flow[0].ChecksAfter("a"));
  EXPECT_TRUE(spec->flow[0].ChecksAfter("b"));
  EXPECT_THAT(spec->flow[1].names, ElementsAre("a"));

  const std::string plain = "base: b\nstages:\n  - {name: a}\n  - {name: b}\nflow:\n";
  EXPECT_EQ(SpecFaultOf(plain + "  - c\n"),
            "dir/c.yaml:6: flow[0]: want a stage or tool of the chain, found \"c\"");
  EXPECT_EQ(SpecFaultOf(plain + "  - a\n"),
            "dir/c.yaml:6: flow: want every stage and tool in it, found no \"b\"");
  EXPECT_THAT(SpecFaultOf(plain + "  []\n"), EndsWith("found an empty list"));
  EXPECT_THAT(SpecFaultOf(plain + "  - [a, b]\n"),
              EndsWith("flow[0]: want a stage or {loop: [...], rounds: n}, found a list"));
  const auto loop = [&](const std::string& rest) {
    return SpecFaultOf(plain + "  - {loop: [a, b], " + rest + "}\n");
  };
  EXPECT_THAT(loop("until: {tokens: 1}"), HasSubstr("rounds"));
  EXPECT_THAT(loop("rounds: 0"), HasSubstr("flow[0].rounds: want"));
  EXPECT_THAT(loop("rounds: 513"),
              EndsWith("want at most 1024 runs of stages in all rounds, found 1026"));
  EXPECT_THAT(loop("rounds: 2, until: {stage: c, tokens: 1}"),
              EndsWith("flow[0].until.stage: want a stage of the loop, found \"c\""));
  EXPECT_THAT(loop("rounds: 2, until: {stage: a}"),
              EndsWith("flow[0].until: want token, text or tokens, found none"));
  EXPECT_THAT(loop("rounds: 2, until: {text: '('}"), HasSubstr("flow[0].until.text: "));
  EXPECT_THAT(loop("rounds: 2, until: {round: 1}"),
              HasSubstr("unknown key \"flow[0].until.round\""));
}

TEST(ChainSpec, StagesMustMakeSenseTogether) {
  EXPECT_THAT(SpecFaultOf("base: b\nstages:\n  - {name: a, start: x}\n  - {name: a, start: x}\n"),
              EndsWith("want a name of its own, found \"a\" again"));
  EXPECT_EQ(SpecFaultOf("base: b\nstages:\n  - {name: a, reads: [b]}\n  - {name: b}\n"),
            "dir/c.yaml:3: stage \"a\": reads: want stages that run before it (there are none), "
            "found \"b\", which does not");
  EXPECT_THAT(SpecFaultOf("base: b\nstages:\n  - {name: a}\n  - {name: b, reads: [b]}\n"),
              EndsWith("want stages that run before it (\"a\"), found \"b\", which does not"));
  EXPECT_THAT(SpecFaultOf("base: b\nstages:\n  - {name: a}\n  - {name: b, reads: [x]}\n"),
              EndsWith("found \"x\", which is no stage"));
  EXPECT_THAT(SpecFaultOf("base: b\nstages:\n  - {name: a}\n  - {name: b, reads: [a, a]}\n"),
              EndsWith("\"a\" stands twice"));
  EXPECT_THAT(SpecFaultOf("base: b\nstages:\n  - {name: a, read_as: 'none'}\n"),
              EndsWith("read_as: want {text} once, found it 0 times"));
  EXPECT_THAT(SpecFaultOf("base: b\nstages:\n  - {name: a, read_as: '{text}{other}'}\n"),
              EndsWith("want the field {text} alone, found {other}"));
  EXPECT_THAT(SpecFaultOf(With("overlong: cut\ncut_field: X\n")),
              EndsWith("cut_field: want a field that a template uses, found \"X\""));
  EXPECT_THAT(SpecFaultOf(With("cut_field: X\n")),
              EndsWith("cut_field: only `overlong: cut` has one, found \"X\""));
}

TEST(ChainSpec, HostileYamlIsRefused) {
  EXPECT_THAT(SpecFaultOf("base: &a b\nname: *a\nstages: []\n"), HasSubstr("c.yaml:1: anchors"));
  EXPECT_THAT(SpecFaultOf("base: b\nbase: c\nstages: []\n"),
              HasSubstr("c.yaml:2: key \"base\" stands twice"));
  EXPECT_THAT(SpecFaultOf("base: b\n---\nbase: c\n"), HasSubstr("want one YAML document"));
  EXPECT_THAT(SpecFaultOf("base: !!binary b\n"), HasSubstr("tags are not allowed"));
  EXPECT_THAT(SpecFaultOf("? [a]\n: b\n"), HasSubstr("want a word as a key, found a list"));
  EXPECT_THAT(SpecFaultOf(std::string("base: a\0b\n", 10)), HasSubstr("control character 0"));
  EXPECT_THAT(SpecFaultOf("base: \"\xff\"\n"), HasSubstr("want UTF-8"));
  EXPECT_THAT(SpecFaultOf("base: b\nstages: [\n"), HasSubstr("dir/c.yaml:"));
  EXPECT_THAT(SpecFaultOf("base: " + std::string(200, '[') + std::string(200, ']')),
              HasSubstr("nested deeper than 16"));
  EXPECT_NE(SpecFaultOf("base: " + std::string(5000, '[')), "");
  EXPECT_NE(SpecFaultOf("base: " + std::string(5000, '{')), "");
  std::string deep = "a:\n";
  for (int i = 1; i < 40; ++i) deep += std::string(i, ' ') + "a:\n";
  EXPECT_THAT(SpecFaultOf(deep), HasSubstr("nested deeper than 16"));
  std::string many = "base: [a";
  for (int i = 0; i < 30000; ++i) many += ",a";
  EXPECT_THAT(SpecFaultOf(many + "]\n"), HasSubstr("more than 20000 values"));
  std::string keys;
  for (int i = 0; i < 2000; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(SpecFaultOf(keys), "dir/c.yaml:1001: more than 1000 keys");
  EXPECT_THAT(SpecFaultOf(std::string(size_t{2} << 20, ' ')),
              HasSubstr("want at most 1048576 bytes"));
}

TEST(Yaml, NearestWordNeedsToBeNear) {
  EXPECT_EQ(NearestWord("plcement", {"name", "placement"}), "placement");
  EXPECT_EQ(NearestWord("zzz", {"name", "placement"}), "");
}

}  // namespace
}  // namespace onepass
