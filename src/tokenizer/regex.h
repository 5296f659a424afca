// A compiled pattern with the meaning that Oniguruma's Ruby syntax (tokenizer.json) or Rust's
// fancy-regex (tiktoken) gives it, run by PCRE2.
// Immutable; thread-safe; moves are cheap.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/status.h"

namespace onepass {

enum class RegexDialect { kOniguruma, kRust };

// The same pattern in PCRE2's syntax. kUnsupported: something PCRE2 has no word for.
Result<std::string> TranslatePattern(std::string_view pattern, RegexDialect dialect);

class Regex {
 public:
  // kInvalidArgument, kUnsupported: why, and at which byte of the pattern.
  static Result<Regex> Compile(std::string_view pattern, RegexDialect dialect);
  // A pattern that matches `text` itself.
  static Result<Regex> CompileLiteral(std::string_view text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Calls on_match(begin, end) for every match from left to right. An empty match right behind the
  // match before it is skipped. Backtracking is bounded: where a pattern needs more, the search
  // ends, and what follows counts as not matched. REQUIRES: subject is valid UTF-8.
  void ForEachMatch(std::string_view subject,
                    const std::function<void(size_t begin, size_t end)>& on_match) const;

  // Whether it matches anywhere. REQUIRES: subject is valid UTF-8.
  bool Matches(std::string_view subject) const;

 private:
  struct Program;
  explicit Regex(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

}  // namespace onepass
