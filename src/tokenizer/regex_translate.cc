// From the pattern dialects of tokenizer files to PCRE2's: the shorthand classes mean other sets
// there (\s without U+180E, \w with marks and connectors, \h hexadecimal digits), and so do flags.
#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/quote.h"
#include "tokenizer/regex.h"

namespace onepass {
namespace {

// Items for the inside of a class.
constexpr std::string_view kSpaceItems = "\\p{Z}\\x{9}-\\x{d}\\x{85}";
constexpr std::string_view kNotSpaceItems =
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"
    "\\x{3001}-\\x{10ffff}";
// Characters of Unicode 15 that PCRE2's tables (Unicode 14) may lack, and that texts do hold: the
// newest ideographs.
#define ONEPASS_NEW_IDEOGRAPHS "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"
constexpr std::string_view kLetterItems = "\\p{L}" ONEPASS_NEW_IDEOGRAPHS;
constexpr std::string_view kOtherLetterItems = "\\p{Lo}" ONEPASS_NEW_IDEOGRAPHS;
constexpr std::string_view kAlphaItems = "\\p{Alphabetic}" ONEPASS_NEW_IDEOGRAPHS;
constexpr std::string_view kHanItems = "\\p{sc:Han}" ONEPASS_NEW_IDEOGRAPHS;
#define ONEPASS_WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}" ONEPASS_NEW_IDEOGRAPHS
// Oniguruma counts the superscripts and fractions of Latin-1 too, but not inside of a class; Rust
// counts the two joiners.
constexpr std::string_view kWordItemsInClass = ONEPASS_WORD;
constexpr std::string_view kWordItems = ONEPASS_WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
constexpr std::string_view kRustWordItems = ONEPASS_WORD "\\x{200c}\\x{200d}";
#undef ONEPASS_WORD
#undef ONEPASS_NEW_IDEOGRAPHS
constexpr std::string_view kHexItems = "0-9a-fA-F";

// Property names as Oniguruma compares them: letters and digits only, lower case.
std::string PlainName(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c == ' ' || c == '_' || c == '-') continue;
    plain.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  return plain;
}

// Class items of a property by its plain name; empty if none of these.
std::string_view KnownItems(std::string_view plain) {
  static constexpr std::pair<std::string_view, std::string_view> kItems[] = {
      {"l", kLetterItems},
      {"letter", kLetterItems},
      {"lo", kOtherLetterItems},
      {"otherletter", kOtherLetterItems},
      {"han", kHanItems},
      {"alpha", kAlphaItems},
      {"alphabetic", kAlphaItems},
      {"casedletter", "\\p{L&}"},
      {"lc", "\\p{L&}"},
      {"uppercaseletter", "\\p{Lu}"},
      {"lowercaseletter", "\\p{Ll}"},
      {"titlecaseletter", "\\p{Lt}"},
      {"modifierletter", "\\p{Lm}"},
      {"mark", "\\p{M}"},
      {"combiningmark", "\\p{M}"},
      {"nonspacingmark", "\\p{Mn}"},
      {"spacingmark", "\\p{Mc}"},
      {"enclosingmark", "\\p{Me}"},
      {"number", "\\p{N}"},
      {"decimalnumber", "\\p{Nd}"},
      {"letternumber", "\\p{Nl}"},
      {"othernumber", "\\p{No}"},
      {"punctuation", "\\p{P}"},
      {"connectorpunctuation", "\\p{Pc}"},
      {"dashpunctuation", "\\p{Pd}"},
      {"openpunctuation", "\\p{Ps}"},
      {"closepunctuation", "\\p{Pe}"},
      {"initialpunctuation", "\\p{Pi}"},
      {"finalpunctuation", "\\p{Pf}"},
      {"otherpunctuation", "\\p{Po}"},
      {"symbol", "\\p{S}"},
      {"mathsymbol", "\\p{Sm}"},
      {"currencysymbol", "\\p{Sc}"},
      {"modifiersymbol", "\\p{Sk}"},
      {"othersymbol", "\\p{So}"},
      {"separator", "\\p{Z}"},
      {"spaceseparator", "\\p{Zs}"},
      {"lineseparator", "\\p{Zl}"},
      {"paragraphseparator", "\\p{Zp}"},
      {"other", "\\p{C}"},
      {"control", "\\p{Cc}"},
      {"format", "\\p{Cf}"},
      {"surrogate", "\\p{Cs}"},
      {"privateuse", "\\p{Co}"},
      {"unassigned", "\\p{Cn}"},
      {"upper", "\\p{Uppercase}"},
      {"lower", "\\p{Lowercase}"},
      {"digit", "\\p{Nd}"},
      {"alnum", "\\p{Alphabetic}\\p{Nd}"},
      {"space", kSpaceItems},
      {"whitespace", kSpaceItems},
      {"word", kWordItemsInClass},
      {"cntrl", "\\p{Cc}"},
      {"xdigit", kHexItems},
      {"punct", "\\p{P}\\p{S}"},
  };
  for (const auto& [name, items] : kItems) {
    if (name == plain) return items;
  }
  return {};
}

// Class items of any property. A name that is no category and no property of characters is a
// script; PCRE2 takes a bare script name for its extensions, which is a larger set.
std::string ItemsOfProperty(std::string_view name) {
  static constexpr std::string_view kBinary[] = {"any",
                                                 "ascii",
                                                 "asciihexdigit",
                                                 "cased",
                                                 "caseignorable",
                                                 "dash",
                                                 "diacritic",
                                                 "emoji",
                                                 "emojicomponent",
                                                 "emojimodifier",
                                                 "emojimodifierbase",
                                                 "emojipresentation",
                                                 "extendedpictographic",
                                                 "extender",
                                                 "hexdigit",
                                                 "idcontinue",
                                                 "idstart",
                                                 "ideographic",
                                                 "joincontrol",
                                                 "lowercase",
                                                 "math",
                                                 "quotationmark",
                                                 "radical",
                                                 "regionalindicator",
                                                 "terminalpunctuation",
                                                 "unifiedideograph",
                                                 "uppercase",
                                                 "variationselector",
                                                 "xidcontinue",
                                                 "xidstart"};
  const std::string plain = PlainName(name);
  const std::string_view known = KnownItems(plain);
  if (!known.empty()) return std::string(known);
  const bool is_script = plain.size() > 2 && std::find(std::begin(kBinary), std::end(kBinary),
                                                       plain) == std::end(kBinary);
  return (is_script ? "\\p{sc:" : "\\p{") + std::string(name) + "}";
}

// Whether the items are one property and nothing else.
bool IsOneProperty(std::string_view items) {
  return items.starts_with("\\p{") && items.find('}') == items.size() - 1;
}

class Translator {
 public:
  Translator(std::string_view pattern, RegexDialect dialect)
      : pattern_(pattern), dialect_(dialect) {}

  Result<std::string> Run() {
    while (pos_ < pattern_.size()) {
      const char c = pattern_[pos_];
      if (c == '\\') {
        atom_ = out_.size();
        RETURN_IF_ERROR(EscapeOutside());
      } else if (c == '[') {
        atom_ = out_.size();
        RETURN_IF_ERROR(Class());
      } else if (c == '(') {
        groups_.push_back(out_.size());
        RETURN_IF_ERROR(Open());
      } else if (c == '{') {
        Interval();
      } else {
        if (c == ')' && !groups_.empty()) {
          atom_ = groups_.back();
          groups_.pop_back();
        } else if (c != '*' && c != '+' && c != '?' && (static_cast<uint8_t>(c) & 0xC0) != 0x80) {
          atom_ = out_.size();
        }
        out_.push_back(c);
        ++pos_;
      }
    }
    return std::move(out_);
  }

 private:
  Status Refuse(const std::string& what) const {
    return Unsupported("want a pattern that can be run, found " + what + " at byte " +
                       std::to_string(pos_) + " of " + Quote(pattern_));
  }

  bool AtEnd(size_t offset) const { return pos_ + offset >= pattern_.size(); }

  // What an escape at pos_ stands for.
  struct Escape {
    std::string items;    // for the inside of a class; with `negated`, everything but these
    bool is_set = false;  // a class of characters, else copied as it is
    bool negated = false;
  };

  std::string_view WordItems(bool in_class) const {
    if (dialect_ == RegexDialect::kRust) return kRustWordItems;
    return in_class ? kWordItemsInClass : kWordItems;
  }

  // Reads the escape at pos_ and moves behind it.
  Result<Escape> ReadEscape(bool in_class) {
    if (AtEnd(1)) return InvalidArgument("want a character after \\, found the pattern's end");
    const char c = pattern_[pos_ + 1];
    const auto set = [this](std::string_view items, bool negated) {
      pos_ += 2;
      return Escape{std::string(items), true, negated};
    };
    switch (c) {
      case 's':
      case 'S':
        return set(kSpaceItems, c == 'S');
      case 'w':
      case 'W':
        return set(WordItems(in_class), c == 'W');
      case 'd':
      case 'D':
        return set("\\p{Nd}", c == 'D');
      case 'h':
      case 'H':
        if (dialect_ == RegexDialect::kRust) break;
        return set(kHexItems, c == 'H');
      case 'v':
        pos_ += 2;
        return Escape{"\\x{b}"};
      case 'u':
        return CodePointEscape();
      case 'p':
      case 'P':
        if (!AtEnd(2) && pattern_[pos_ + 2] == '{') return Property();
        break;
      default:
        break;
    }
    Escape escape{std::string(pattern_.substr(pos_, 2))};
    pos_ += 2;
    return escape;
  }

  Result<Escape> CodePointEscape() {
    size_t end = pos_ + 2;
    const size_t limit = std::min(pattern_.size(), end + 4);
    while (end < limit && std::isxdigit(static_cast<unsigned char>(pattern_[end])) != 0) ++end;
    if (end != pos_ + 6) return Refuse("\\u without four hexadecimal digits");
    Escape escape{"\\x{" + std::string(pattern_.substr(pos_ + 2, 4)) + "}"};
    pos_ = end;
    return escape;
  }

  Result<Escape> Property() {
    const size_t close = pattern_.find('}', pos_);
    if (close == std::string_view::npos) return Refuse("\\p{ without }");
    std::string_view name = pattern_.substr(pos_ + 3, close - pos_ - 3);
    bool negated = pattern_[pos_ + 1] == 'P';
    if (!name.empty() && name.front() == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    Escape escape{ItemsOfProperty(name), true, negated};
    pos_ = close + 1;
    return escape;
  }

  Status EscapeOutside() {
    if (!AtEnd(1) && pattern_[pos_ + 1] == 'Q') return Refuse("\\Q");
    if (!AtEnd(1) && (pattern_[pos_ + 1] == 'b' || pattern_[pos_ + 1] == 'B')) {
      WordBoundary(pattern_[pos_ + 1] == 'b');
      return Status::Ok();
    }
    ASSIGN_OR_RETURN(const Escape escape, ReadEscape(/*in_class=*/false));
    if (!escape.is_set) {
      out_ += escape.items;
    } else {
      out_ += (escape.negated ? "[^" : "[") + escape.items + "]";
    }
    return Status::Ok();
  }

  // \b and \B, by what counts as a word here.
  void WordBoundary(bool at_boundary) {
    const std::string word = "[" + std::string(WordItems(/*in_class=*/false)) + "]";
    const std::string begins = "(?<!" + word + ")";
    const std::string ends = "(?<=" + word + ")";
    const std::string is = "(?=" + word + ")";
    const std::string is_not = "(?!" + word + ")";
    out_ += at_boundary ? "(?:" + begins + is + "|" + ends + is_not + ")"
                        : "(?:" + begins + is_not + "|" + ends + is + ")";
    pos_ += 2;
  }

  Status Class() {
    ++pos_;
    const bool negated = !AtEnd(0) && pattern_[pos_] == '^';
    if (negated) ++pos_;
    std::string items;
    // Negated sets inside a class whose members PCRE2 cannot list: "everything but these".
    std::string complements;
    bool first = true;
    while (true) {
      if (AtEnd(0)) return Refuse("[ without ]");
      const char c = pattern_[pos_];
      if (c == ']' && !first) break;
      first = false;
      if (c == '\\') {
        ASSIGN_OR_RETURN(const Escape escape, ReadEscape(/*in_class=*/true));
        if (!escape.is_set || !escape.negated) {
          items += escape.items;
        } else if (escape.items == kSpaceItems) {
          items += kNotSpaceItems;
        } else if (IsOneProperty(escape.items)) {
          items += "\\P" + escape.items.substr(2);
        } else {
          complements += (complements.empty() ? "[^" : "|[^") + escape.items + "]";
        }
      } else if (c == '[') {
        const size_t close = pattern_.find(":]", pos_);
        if (AtEnd(1) || pattern_[pos_ + 1] != ':' || close == std::string_view::npos) {
          return Refuse("a class inside a class");
        }
        std::string_view name = pattern_.substr(pos_ + 2, close - pos_ - 2);
        const bool inverted = !name.empty() && name.front() == '^';
        if (inverted) name.remove_prefix(1);
        const std::string_view known = KnownItems(PlainName(name));
        if (known.empty()) return Refuse("the class name [:" + std::string(name) + ":]");
        if (inverted) {
          complements += (complements.empty() ? "[^" : "|[^") + std::string(known) + "]";
        } else {
          items += known;
        }
        pos_ = close + 2;
      } else if (c == '&' && !AtEnd(1) && pattern_[pos_ + 1] == '&') {
        return Refuse("&& (intersection of classes)");
      } else {
        if (c == ']') items.push_back('\\');
        items.push_back(c);
        ++pos_;
      }
    }
    ++pos_;
    if (complements.empty()) {
      out_ += (negated ? "[^" : "[") + items + "]";
    } else {
      // A union of sets of which some can only be said by what they lack.
      const bool single = items.empty() && complements.find('|') == std::string::npos;
      if (single) {
        out_ += negated ? "[" + complements.substr(2) : complements;
        return Status::Ok();
      }
      const std::string either =
          "(?:" + (items.empty() ? "" : "[" + items + "]|") + complements + ")";
      out_ += negated ? "(?:(?!" + either + ")(?s:.))" : either;
    }
    return Status::Ok();
  }

  // "(" and, where it carries flags, "(?imx" with Ruby's m (dot matches newline) written as s.
  Status Open() {
    out_.push_back('(');
    ++pos_;
    if (!AtEnd(0) && pattern_[pos_] == '*') return Refuse("a verb (*...)");
    if (AtEnd(1) || pattern_[pos_] != '?') return Status::Ok();
    if (pattern_[pos_ + 1] == '#') {
      const size_t close = pattern_.find(')', pos_);
      if (close == std::string_view::npos) return Refuse("(?# without )");
      out_ += "?#";
      pos_ = close;
      return Status::Ok();
    }
    size_t end = pos_ + 1;
    while (end < pattern_.size() &&
           (std::isalpha(static_cast<unsigned char>(pattern_[end])) != 0 || pattern_[end] == '-')) {
      ++end;
    }
    if (end == pos_ + 1 || end >= pattern_.size() ||
        (pattern_[end] != ':' && pattern_[end] != ')')) {
      out_.push_back('?');
      ++pos_;
      return Status::Ok();
    }
    out_.push_back('?');
    for (const char flag : pattern_.substr(pos_ + 1, end - pos_ - 1)) {
      const bool ruby = dialect_ == RegexDialect::kOniguruma;
      if (flag == 'i' || flag == 'x' || flag == '-' || (!ruby && (flag == 's' || flag == 'm'))) {
        out_.push_back(flag);
      } else if (ruby && flag == 'm') {
        out_.push_back('s');
      } else if (!ruby && flag == 'u') {
        continue;
      } else {
        return Refuse(std::string("the flag ") + flag);
      }
    }
    pos_ = end;
    return Status::Ok();
  }

  // {,n} is {0,n}; and Ruby reads {n,m}+ as a repeated interval, not as a possessive one.
  void Interval() {
    size_t end = pos_ + 1;
    const auto digits = [&] {
      const size_t begin = end;
      while (end < pattern_.size() &&
             std::isdigit(static_cast<unsigned char>(pattern_[end])) != 0) {
        ++end;
      }
      return pattern_.substr(begin, end - begin);
    };
    const std::string low(digits());
    bool comma = false;
    std::string high;
    if (end < pattern_.size() && pattern_[end] == ',') {
      comma = true;
      ++end;
      high = digits();
    }
    if (end >= pattern_.size() || pattern_[end] != '}' || (low.empty() && high.empty())) {
      atom_ = out_.size();
      out_ += "\\{";
      ++pos_;
      return;
    }
    out_ += "{" + (low.empty() ? "0" : low) + (comma ? "," : "") + high + "}";
    pos_ = end + 1;
    if (dialect_ == RegexDialect::kOniguruma && !AtEnd(0) && pattern_[pos_] == '+') {
      out_.insert(atom_, "(?:");
      out_ += ")+";
      ++pos_;
    }
  }

  std::string_view pattern_;
  RegexDialect dialect_;
  size_t pos_ = 0;
  std::string out_;
  // Where in out_ the groups that are open begin, and the item that a quantifier would repeat.
  std::vector<size_t> groups_;
  size_t atom_ = 0;
};

}  // namespace

Result<std::string> TranslatePattern(std::string_view pattern, RegexDialect dialect) {
  return Translator(pattern, dialect).Run();
}

}  // namespace onepass
