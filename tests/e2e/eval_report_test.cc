// What eval and eval report write of texts that mean harm, read by another program's strict parser.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "chain/tiny_chain_for_test.h"
#include "program.h"

namespace onepass {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

// Lists the elements of a page and their attributes; fails where it is not well-formed XML behind
// its first line.
constexpr char kListElements[] =
    "import sys\n"
    "import xml.etree.ElementTree as tree\n"
    "text = open(sys.argv[1], encoding='utf-8').read()\n"
    "head, page = text.split('\\n', 1)\n"
    "assert head == '<!DOCTYPE html>', head\n"
    "for element in tree.fromstring(page).iter():\n"
    "  print(element.tag.split('}')[-1], *sorted(element.keys()))\n";

constexpr char kHostile[] = "</title></td><script>alert(1)</script><img src=x onerror=alert(1)>";

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

class EvalReport : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = WriteTinyBase("eval_report");
    Write("chain.yaml",
          "base: .\nstages:\n  - {name: a, input: \"{Q}\", start: <bos>, max_tokens: 3}\n"
          "  - {name: b, start: <bos>, max_tokens: 3}\n"
          "flow: [{loop: [a, b], rounds: 2}]\n");
    Write("data.jsonl",
          "{\"Q\": \"<b>who</b>\", \"O\": \"</pre>\"}\n{\"Q\": \"x\", \"O\": \"B\"}\n");
    Write("list.py", kListElements);
    Write("suite.yaml", "task: \"" + std::string(kHostile) +
                            "\"\ndata: data.jsonl\ngold: O\nmetric: accuracy\nchoices: ABC\n"
                            "reference: one\npaper_metrics: [\"<i>\"]\n"
                            "paper: [{name: \"" +
                            kHostile +
                            "\", values: {two: [14.4]}}]\n"
                            "methods:\n  - {method: one, chain: chain.yaml}\n"
                            "  - {method: two, chain: chain.yaml, handoff: text}\n");
  }
  void TearDown() override { fs::remove_all(dir_); }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(dir_ + "/" + name, text).ok());
  }

  // "element attribute attribute..." lines.
  std::string Elements(const std::string& page) {
    const Outcome listed = RunShell("python3 " + dir_ + "/list.py " + page);
    EXPECT_EQ(listed.exit_code, 0) << listed.output;
    return listed.output;
  }

  void ExpectHarmless(const std::string& folder) {
    const std::string elements = Elements(folder + "/report.html");
    EXPECT_THAT(elements, HasSubstr("svg"));
    EXPECT_THAT(elements, HasSubstr("table"));
    for (const char* word : {"script", "img", "onerror", "src", "href", "link"}) {
      EXPECT_THAT(elements, Not(HasSubstr(word)));
    }
    EXPECT_THAT(ReadText(folder + "/report.html"), HasSubstr("&lt;script&gt;alert(1)"));
    EXPECT_THAT(ReadText(folder + "/report.md"), Not(HasSubstr("<")));
  }

  std::string dir_;
};

TEST_F(EvalReport, ShowsHostileTextsAsTexts) {
  const std::string out = dir_ + "/out";
  const Outcome eval =
      RunOnepass("eval " + dir_ + "/suite.yaml --backend ref --threads 1 --out " + out);
  ASSERT_EQ(eval.exit_code, 0) << eval.output;
  ExpectHarmless(out);
  const auto results = nlohmann::json::parse(ReadText(out + "/results.json"));
  EXPECT_EQ(results["task"], kHostile);
  EXPECT_EQ(results["methods"][1]["rounds"], 2);
  EXPECT_TRUE(results["methods"][1]["tool_runs"].is_null());
  EXPECT_TRUE(results["methods"][0]["accuracy_minus_reference"].is_null());
  EXPECT_TRUE(results["methods"][1]["accuracy_minus_reference_interval"].is_array());
  EXPECT_THAT(ReadText(out + "/report.md"), HasSubstr("14.4"));

  // Several folders, a title from the command line.
  const Outcome report =
      RunOnepass("eval report " + out + " " + out + " --out " + dir_ + "/both --title '" +
                 kHostile + "' --note one --note '" + kHostile + "'");
  ASSERT_EQ(report.exit_code, 0) << report.output;
  EXPECT_EQ(report.output, "");
  ExpectHarmless(dir_ + "/both");
  const std::string elements = Elements(dir_ + "/both/report.html");
  EXPECT_NE(elements.find("section"), elements.rfind("section"));
  // One folder and its own title: the page that eval wrote.
  ASSERT_EQ(RunOnepass("eval report " + out + " --out " + dir_ + "/one --title '" + kHostile + "'")
                .exit_code,
            0);
  for (const char* page : {"/report.html", "/report.md"}) {
    EXPECT_EQ(ReadText(dir_ + "/one" + page), ReadText(out + page));
  }
}

TEST_F(EvalReport, FaultsAreOneLineAndLeaveNothing) {
  fs::create_directories(dir_ + "/old");
  Write("old/results.json", "[]\n");
  for (const char* folder : {"/none", "/old"}) {
    const Outcome report =
        RunOnepass("eval report " + dir_ + folder + " --out " + dir_ + "/new/report");
    EXPECT_EQ(report.exit_code, 1);
    EXPECT_THAT(report.output, HasSubstr(std::string(folder) + "/results.json"));
    EXPECT_EQ(std::ranges::count(report.output, '\n'), 1) << report.output;
    EXPECT_FALSE(fs::exists(dir_ + "/new"));
  }
  // Nor does a comparison that fails.
  Write("data.jsonl", "{\"Q\": 1}\n");
  EXPECT_EQ(RunOnepass("eval " + dir_ + "/suite.yaml --out " + dir_ + "/new/out").exit_code, 1);
  EXPECT_FALSE(fs::exists(dir_ + "/new"));
}

}  // namespace
}  // namespace onepass
