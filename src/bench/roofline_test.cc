#include "bench/roofline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "core/xml_for_test.h"
#include "model/checkpoint.h"

namespace onepass {
namespace {

// The centres of the marks of points, in their order.
std::vector<std::pair<double, double>> MarksOf(const std::vector<XmlElement>& elements) {
  std::vector<std::pair<double, double>> marks;
  for (size_t i = 0; i + 2 < elements.size(); ++i) {
    if (elements[i].name != "g") continue;
    const XmlElement& mark = elements[i + 2];  // behind its title
    if (mark.name == "circle") {
      marks.emplace_back(mark.Number("cx"), mark.Number("cy"));
    } else {
      marks.emplace_back(mark.Number("x") + mark.Number("width") / 2,
                         mark.Number("y") + mark.Number("height") / 2);
    }
  }
  return marks;
}

XmlElement ById(const std::vector<XmlElement>& elements, const std::string& id) {
  for (const XmlElement& element : elements) {
    const auto found = element.attributes.find("id");
    if (found != element.attributes.end() && found->second == id) return element;
  }
  ADD_FAILURE() << "no element " << id;
  return {};
}

Roofline ExampleRoofline() {
  return {.title = "example",
          .peaks = {.gflops = 200, .int8_gops = 800, .gb_per_s = 20},
          .points = {{.weights = "BF16",
                      .name = "prefill 512",
                      .value = "700 tok/s",
                      .is_prefill = true,
                      .arithmetic_intensity = 500,
                      .gops = 100,
                      .share = 0.5},
                     {.weights = "Q8_0",
                      .name = "decode x 1",
                      .value = "150 tok/s",
                      .is_prefill = false,
                      .arithmetic_intensity = 2,
                      .gops = 30,
                      .share = 0.75}}};
}

constexpr double kRounding = 0.02;  // coordinates have two digits behind the point

TEST(RooflineSvg, IsWellFormedWhateverTheNamesAre) {
  Roofline roofline = ExampleRoofline();
  ASSERT_TRUE(ParseXml(RooflineSvg(roofline)));
  roofline.title = "a<b> & \"c\" \x01\x1F \xFF\xC3 \xEF\xBF\xBF é";
  roofline.points[0].name = "</svg>";
  roofline.points[1].weights = "&";
  const std::string svg = RooflineSvg(roofline);
  EXPECT_TRUE(ParseXml(svg)) << svg;
  EXPECT_THAT(svg, testing::HasSubstr("a&lt;b&gt; &amp; &quot;c&quot; ?? ?? ? é"));
  roofline.points.clear();
  EXPECT_TRUE(ParseXml(RooflineSvg(roofline)));
}

TEST(RooflineSvg, PointsLieWhereTheirNumbersSay) {
  Roofline roofline = ExampleRoofline();
  // Equal factors are equal distances, whatever the decade; more is right and up.
  roofline.points.resize(1, ExampleRoofline().points[0]);
  for (const double factor : {0.01, 0.1, 1.5}) {
    roofline.points.push_back(ExampleRoofline().points[0]);
    roofline.points.back().arithmetic_intensity *= factor;
    roofline.points.back().gops *= factor;
    roofline.points.back().is_prefill = factor < 1;
  }
  const auto elements = ParseXml(RooflineSvg(roofline));
  ASSERT_TRUE(elements);
  const auto marks = MarksOf(*elements);
  ASSERT_EQ(marks.size(), 4u);
  const double decade_x = marks[0].first - marks[2].first;
  const double decade_y = marks[0].second - marks[2].second;
  EXPECT_GT(decade_x, 20);
  EXPECT_LT(decade_y, -20);
  EXPECT_NEAR(marks[0].first - marks[1].first, 2 * decade_x, 2 * kRounding);
  EXPECT_NEAR(marks[0].second - marks[1].second, 2 * decade_y, 2 * kRounding);
  EXPECT_NEAR(marks[3].first - marks[0].first, std::log10(1.5) * decade_x, 2 * kRounding);
  EXPECT_NEAR(marks[3].second - marks[0].second, std::log10(1.5) * decade_y, 2 * kRounding);
}

TEST(RooflineSvg, RoofsPassThroughWorkThatReachesThem) {
  Roofline roofline = ExampleRoofline();
  roofline.points[0].gops = 200;  // f32's peak
  roofline.points[1].arithmetic_intensity = 3;
  roofline.points[1].gops = 60;  // all that 20 GB/s allow
  roofline.points.push_back(roofline.points[0]);
  roofline.points[2].gops = 800;  // int8's peak
  const auto elements = ParseXml(RooflineSvg(roofline));
  ASSERT_TRUE(elements);
  const auto marks = MarksOf(*elements);
  ASSERT_EQ(marks.size(), 3u);
  const XmlElement f32 = ById(*elements, "roof-f32");
  const XmlElement int8 = ById(*elements, "roof-int8");
  const XmlElement memory = ById(*elements, "roof-memory");
  EXPECT_NEAR(f32.Number("y1"), marks[0].second, kRounding);
  EXPECT_NEAR(f32.Number("y2"), marks[0].second, kRounding);
  EXPECT_NEAR(int8.Number("y1"), marks[2].second, kRounding);
  EXPECT_LT(f32.Number("x1"), marks[0].first);
  EXPECT_GT(f32.Number("x2"), marks[0].first);
  // Memory's roof, and where the flat ones leave it.
  const auto height_at = [&](double x) {
    const double part = (x - memory.Number("x1")) / (memory.Number("x2") - memory.Number("x1"));
    return memory.Number("y1") + part * (memory.Number("y2") - memory.Number("y1"));
  };
  EXPECT_NEAR(height_at(marks[1].first), marks[1].second, 2 * kRounding);
  EXPECT_NEAR(height_at(f32.Number("x1")), f32.Number("y1"), 2 * kRounding);
  EXPECT_NEAR(height_at(int8.Number("x1")), int8.Number("y1"), 2 * kRounding);
}

TEST(RooflineSvg, SaysValuesAndUnits) {
  const std::string svg = RooflineSvg(ExampleRoofline());
  for (const char* text :
       {"BF16, prefill 512: 700 tok/s, 50%", "Q8_0, decode x 1: 150 tok/s, 75%", "f32 200 Gop/s",
        "int8 800 Gop/s", "memory 20.0 GB/s", "(op/B)", "(Gop/s)"}) {
    EXPECT_THAT(svg, testing::HasSubstr(text));
  }
}

TEST(BenchRoofline, MeasuresADenseBaseInThreeTypesOfWeights) {
  ModelConfig config;
  config.architecture = "llama";
  config.vocab_size = 64;
  config.width = 32;
  config.layers = 1;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.feed_forward = 64;
  config.max_positions = 256;
  config.tied_head = true;
  const std::string folder = testing::TempDir() + "/roofline_test_base";
  ASSERT_TRUE(InitBase(config, DType::kBF16, 1, folder).ok());
  RooflineBenchOptions options{.base = {.model = folder,
                                        .scratch = testing::TempDir(),
                                        .thread_count = 1,
                                        .memory_bytes = 1 << 20},
                               .token_counts = {7},
                               .batch_sizes = {1, 2},
                               .context_tokens = 5,
                               .steps = 2,
                               .repeats = 1};
  auto result = BenchRoofline(options);
  ASSERT_TRUE(result.ok()) << result.status().message();
  ASSERT_EQ(result->report.rows.size(), 9u);
  const auto text = [&](size_t row, size_t column) {
    return std::get<std::string>(result->report.rows[row][column]);
  };
  EXPECT_EQ(text(0, 0), "BF16");
  EXPECT_EQ(text(0, 1), "prefill 7");
  EXPECT_EQ(text(3, 0), "Q8_0");
  EXPECT_EQ(text(5, 1), "decode x 2");
  EXPECT_EQ(text(6, 0), "Q4_0");
  const auto elements = ParseXml(result->svg);
  ASSERT_TRUE(elements);
  EXPECT_EQ(MarksOf(*elements).size(), 9u);
  // A point's share is of the limit that it is nearer to, whatever the work.
  for (size_t row = 0; row < 9; ++row) {
    const auto& cells = result->report.rows[row];
    const double share = std::max(std::get<double>(cells[8]), std::get<double>(cells[9]));
    EXPECT_THAT(result->svg,
                testing::ContainsRegex(text(row, 0) + ", " + text(row, 1) + ": [0-9.]+ tok/s, " +
                                       std::to_string(std::lround(100 * share)) + "%"));
  }

  options.base.weights = BlockType::kQ8_0;
  options.kv_dtype = DType::kI8;
  result = BenchRoofline(options);
  ASSERT_TRUE(result.ok()) << result.status().message();
  ASSERT_EQ(result->report.rows.size(), 3u);
  EXPECT_EQ(text(0, 0), "Q8_0");
  EXPECT_THAT(result->report.facts,
              testing::Contains(testing::Pair("kv", BenchCell(std::string("int8")))));

  options.repeats = 0;
  EXPECT_EQ(BenchRoofline(options).status().message(),
            "bench: repeats: want 1 to 1000000, found 0");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace onepass
