// `onepass bench replay`, and the records of real texts that `onepass data` writes, as programs:
// from a text to samples, and what each hand-off costs on them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "core/file.h"
#include "program.h"

namespace onepass {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

const std::string kSource = ONEPASS_SOURCE_DIR;

class ReplayCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/onepass_replay_command";
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::string At(const std::string& name) const { return folder_ + "/" + name; }
  void Write(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(WriteFileAtomically(At(name), text).ok());
  }
  static void ExpectDone(const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  }

  // The report of a chain on records.
  static json Replay(const std::string& chain, const std::string& input, const std::string& outputs,
                     const std::string& more = "") {
    const Outcome outcome = RunOnepass("bench replay " + kSource + "/chains/" + chain +
                                       " --json --threads 1 --input '" + input + "' --outputs '" +
                                       outputs + "' " + more);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return json::parse(outcome.output, nullptr, false);
  }
  static json Row(const json& report, const std::string& what, const std::string& stage,
                  const std::string& handoff) {
    for (const json& row : report["rows"]) {
      if (row["what"] == what && row["stage"] == stage && row["handoff"] == handoff) return row;
    }
    ADD_FAILURE() << "no row " << what << " " << stage << " " << handoff;
    return {};
  }
  // What holds of every report: kv recomputes nothing, text does, and less is held under kv.
  static void ExpectSound(const json& report) {
    ASSERT_TRUE(report.is_object());
    EXPECT_EQ(report["bench"], "replay");
    EXPECT_EQ(Row(report, "tokens_recomputed", "-", "kv")["mean"], 0);
    EXPECT_GT(Row(report, "tokens_recomputed", "-", "text")["mean"], 0);
    for (const char* handoff : {"text", "text-cached", "kv"}) {
      const json ms = Row(report, "handoff_ms", "-", handoff);
      EXPECT_GT(ms["n"], 0);
      EXPECT_GE(ms["median"], ms["p10"]);
      EXPECT_GE(ms["p90"], ms["median"]);
    }
  }

  std::string folder_;
};

TEST_F(ReplayCommand, StoriesBecomeTracesAndAreReplayed) {
  std::string text;
  for (int i = 0; i < 300; ++i) {
    text += "1 Ann took the key.\n2 Ann ran to the attic.\n3 Where is the key? \tattic\t1 2\n";
  }
  Write("qa2.txt", text);
  const std::string babi = "data babi --task 2 --input " + At("qa2.txt") + " --split test --out ";
  ExpectDone(RunOnepass(babi + At("two.jsonl")));
  ExpectDone(RunOnepass(babi + At("traces.jsonl") + " --traces"));
  const json report =
      Replay("comqa/fthss.yaml", At("traces.jsonl"), "O_{round}A,O_{round}B", "--n 3");
  ExpectSound(report);
  EXPECT_EQ(report["records"], 3);
  EXPECT_EQ(Row(report, "rounds", "-", "-")["mean"], 3);
  EXPECT_EQ(Row(report, "loss", "memory", "kv")["n"], 6);
  // The demo's chain has prompts, which fit its base.
  ExpectSound(Replay("demo/fthss.yaml", At("two.jsonl"), "O_A,O_B", "--n 2 --kv int8"));
}

TEST_F(ReplayCommand, ParagraphsBecomeSentencesAndAreReplayed) {
  json articles = json::array();
  for (int i = 0; i < 10; ++i) {
    articles.push_back(
        {{"title", std::to_string(i)},
         {"paragraphs",
          {{{"context", "Dr. Low owns a pony. Ann has 3 hens."},
            {"qas", {{{"question", "What does Ann have?"}, {"answers", {"3 hens", "hens"}}}}}}}}});
  }
  Write("squad.json", json{{"version", "1.1"}, {"data", articles}}.dump());
  ExpectDone(RunOnepass("data squad --input " + At("squad.json") + " --split test --out " +
                        At("squad.jsonl")));
  const Result<std::string> line = ReadFile(At("squad.jsonl"));
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(json::parse(*line)["O_A"], " Ann has 3 hens.");
  const std::string bench =
      "bench replay " + kSource + "/chains/hotpotqa/fthss.yaml --outputs O_A,O_B ";
  const Outcome table = RunOnepass(bench + "--input " + At("squad.jsonl"));
  ExpectDone(table);
  EXPECT_THAT(table.output, HasSubstr("records: 1\n"));
  EXPECT_THAT(table.output, HasSubstr("handoff_ms"));
}

TEST_F(ReplayCommand, AFaultIsOneLine) {
  Write("cut.json", R"([{"title": "T", "paragraphs")");
  Write("good.jsonl", R"({"I_ALL": "q", "I_A": "d", "O_A": "a", "O_B": "b"})");
  Write("bad.jsonl", R"({"I_ALL": "q", "I_A": "d", "O_A": "a"})");
  Write("bytes.jsonl", "{\"I_ALL\": \"\xff\"}");
  const std::string replay = "bench replay " + kSource + "/chains/hotpotqa/fthss.yaml --outputs ";
  const auto fault = [&](const std::string& arguments) {
    const Outcome outcome = RunOnepass(arguments);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
    EXPECT_THAT(outcome.output, MatchesRegex("onepass: [^\n]*\n"));
    return outcome.output;
  };
  EXPECT_THAT(fault("data squad --input " + At("cut.json") + " --out " + At("out")),
              HasSubstr("cut.json"));
  EXPECT_THAT(fault("data squad --input /no-file --out " + At("out")), HasSubstr("/no-file"));
  EXPECT_FALSE(std::filesystem::exists(At("out")));
  EXPECT_THAT(
      fault("data babi --traces --task 1 --input " + At("cut.json") + " --out " + At("out")),
      HasSubstr("want at least 300 questions"));
  EXPECT_THAT(fault(replay + "O_A --input " + At("good.jsonl")),
              HasSubstr("outputs: want a record field for each of 2 stages, found 1"));
  EXPECT_THAT(fault(replay + "O_A,O_B --input " + At("bad.jsonl")), HasSubstr("\"O_B\""));
  EXPECT_THAT(fault(replay + "O_A,O_B --input " + At("bytes.jsonl")), HasSubstr("bytes.jsonl"));
  EXPECT_THAT(fault(replay + "O_A,O_B --base /no-base --input " + At("good.jsonl")),
              HasSubstr("--base: "));
}

// The authors' own files: most of their documents are longer than this base's context.
TEST_F(ReplayCommand, TheAuthorsRecordsAreReplayed) {
  const std::string data = kSource + "/../shared/data/";
  if (!std::filesystem::exists(data + "comqa_dev.json")) GTEST_SKIP() << "no records in " << data;
  const json qa =
      Replay("hotpotqa/fthss.yaml", data + "hotpotqa_compress_test.json", "O_A,O_B", "--n 5");
  ExpectSound(qa);
  EXPECT_GT(qa["cut"], 0);
  const json traces =
      Replay("comqa/fthss.yaml", data + "comqa_dev.json", "O_{round}A,O_{round}B", "--n 8");
  ExpectSound(traces);
  EXPECT_EQ(traces["records"].get<int>() + traces["skipped"].get<int>(), 8);
}

}  // namespace
}  // namespace onepass
