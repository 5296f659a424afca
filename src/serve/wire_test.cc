#include "serve/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace onepass {
namespace {

using testing::HasSubstr;

TEST(ParseChainRun, FieldsAreWhatTheRequestSpells) {
  const auto run = ParseChainRun(
      R"({"seed":1, "fields" : {"A":1.50,"B":[1e2, "x"],"C":12345678901234567890123}})", {});
  ASSERT_TRUE(run.value) << run.error.message;
  const std::vector<RecordField>& fields = run.value->fields;
  ASSERT_EQ(fields.size(), 3);
  EXPECT_EQ(fields[0].text, "1.50");
  EXPECT_THAT(fields[1].list, testing::ElementsAre("1e2", "x"));
  EXPECT_EQ(fields[2].text, "12345678901234567890123");
}

TEST(ParseChainRun, AFaultInFieldsSaysWhatItIs) {
  const std::string list = "{\"fields\":" + std::string(18, '[') + std::string(18, ']') + "}";
  EXPECT_EQ(ParseChainRun(R"({"fields":[1]})", {}).error.message,
            "fields: want an object of a record's fields, found a list");
  EXPECT_THAT(ParseChainRun(list, {}).error.message, HasSubstr("at most 16 nested"));
  std::string many = "{\"fields\":{\"f\":0";
  for (int i = 0; i < 1024; ++i) many += ",\"f" + std::to_string(i) + "\":0";
  EXPECT_EQ(ParseChainRun(many + "}}", {}).error.message,
            "fields: the request: want at most 1024 fields");
}

}  // namespace
}  // namespace onepass
