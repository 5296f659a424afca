#include "core/markup.h"

#include <gtest/gtest.h>

#include "core/xml_for_test.h"

namespace onepass {
namespace {

TEST(Markup, NothingOfATextIsMarkup) {
  EXPECT_EQ(EscapeMarkup("a<b> & \"c\" \xC3\xA9"), "a&lt;b&gt; &amp; &quot;c&quot; \xC3\xA9");
  EXPECT_EQ(EscapeMarkup("\x01\n \xFF\xC3 \xEF\xBF\xBF"), "?? ?? ?");
  for (const char* text : {"</x>", "\" y=\"", "&amp", "<!--", "]]>", "<script>"}) {
    const auto elements =
        ParseXml("<x y=\"" + EscapeMarkup(text) + "\">" + EscapeMarkup(text) + "</x>");
    ASSERT_TRUE(elements) << text;
    EXPECT_EQ(elements->size(), 1u) << text;
    EXPECT_EQ(elements->front().attributes.size(), 1u) << text;
  }
}

TEST(Markup, TheTestsParserRefusesWhatIsNotWellFormed) {
  for (const char* text : {"", "<a>", "<a></b>", "<a/><a/>", "<a b=c/>", "<a b=\"1\" b=\"2\"/>",
                           "<a>&</a>", "<a>&nbsp;</a>", "<a b=\"<\"/>", "<a", "\xFF<a/>"}) {
    EXPECT_FALSE(ParseXml(text)) << text;
  }
}

}  // namespace
}  // namespace onepass
