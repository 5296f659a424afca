#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "core/check.h"
#include "core/quote.h"
#include "tokenizer/unicode.h"

namespace onepass {
namespace {

constexpr size_t kMaxPatternBytes = 64 * 1024;
constexpr uint32_t kMaxParenthesesDepth = 200;
// Backtracking steps of one attempt. Long runs (a megabyte of spaces) backtrack once a character,
// so the bound grows with the subject.
constexpr uint64_t kBaseMatchLimit = 1'000'000;
constexpr uint64_t kMatchLimitPerByte = 16;
constexpr uint32_t kDepthLimit = 1'000'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;

struct MatchDataFree {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct MatchContextFree {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct CompileContextFree {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};

}  // namespace

struct Regex::Program {
  Program() = default;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { pcre2_code_free(code); }

  std::string literal;         // matched byte by byte where there is no code
  pcre2_code* code = nullptr;  // null: literal
};

Regex::Regex(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::Compile(std::string_view pattern, RegexDialect dialect) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgument("want a pattern of at most " + std::to_string(kMaxPatternBytes) +
                           " bytes, found " + std::to_string(pattern.size()));
  }
  ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(pattern, dialect));
  std::unique_ptr<pcre2_compile_context, CompileContextFree> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxParenthesesDepth);
  uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DUPNAMES;
  if (dialect == RegexDialect::kOniguruma) options |= PCRE2_MULTILINE;  // ^ and $ know lines there
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto program = std::make_unique<Program>();
  program->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                options, &error, &offset, context.get());
  if (program->code == nullptr) {
    std::array<PCRE2_UCHAR, 160> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    return InvalidArgument("want a regular expression, found " + Quote(pattern) + ": " +
                           reinterpret_cast<const char*>(message.data()));
  }
  // Where the machine has no JIT the interpreter does the same, slower.
  (void)pcre2_jit_compile(program->code, PCRE2_JIT_COMPLETE);
  return Regex(std::move(program));
}

Result<Regex> Regex::CompileLiteral(std::string_view text) {
  if (text.empty()) return Compile("", RegexDialect::kOniguruma);
  auto program = std::make_unique<Program>();
  program->literal.assign(text);
  return Regex(std::move(program));
}

void Regex::ForEachMatch(std::string_view subject,
                         const std::function<void(size_t, size_t)>& on_match) const {
  if (program_->code == nullptr) {
    const std::string& literal = program_->literal;
    for (size_t at = subject.find(literal); at != std::string_view::npos;
         at = subject.find(literal, at + literal.size())) {
      on_match(at, at + literal.size());
    }
    return;
  }
  std::unique_ptr<pcre2_match_data, MatchDataFree> data(pcre2_match_data_create(1, nullptr));
  std::unique_ptr<pcre2_match_context, MatchContextFree> context(
      pcre2_match_context_create(nullptr));
  ONEPASS_CHECK(data != nullptr && context != nullptr, "no memory for a match");
  const uint64_t limit = kBaseMatchLimit + kMatchLimitPerByte * subject.size();
  pcre2_set_match_limit(context.get(), static_cast<uint32_t>(std::min<uint64_t>(limit, 1u << 31)));
  pcre2_set_depth_limit(context.get(), kDepthLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimitKib);

  const auto* text = reinterpret_cast<PCRE2_SPTR>(subject.empty() ? "" : subject.data());
  size_t start = 0;
  size_t last_end = SIZE_MAX;
  while (start <= subject.size()) {
    int rc = pcre2_match(program_->code, text, subject.size(), start, PCRE2_NO_UTF_CHECK,
                         data.get(), context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
      rc = pcre2_match(program_->code, text, subject.size(), start,
                       PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(), context.get());
    }
    if (rc < 0) return;  // no match, or the limits were hit
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
    const size_t begin = range[0];
    const size_t end = range[1];
    if (begin > end) return;  // \K in a lookahead can do that
    if (begin == end && end == last_end) {
      if (start >= subject.size()) return;
      NextCodePoint(subject, &start);
      continue;
    }
    on_match(begin, end);
    start = end;
    last_end = end;
  }
}

bool Regex::Matches(std::string_view subject) const {
  bool found = false;
  ForEachMatch(subject, [&found](size_t, size_t) { found = true; });
  return found;
}

}  // namespace onepass
