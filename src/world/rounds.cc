#include "world/rounds.h"

#include <cstddef>

namespace onepass {

Round RoundOf(const Fact& fact) {
  return {' ' + SentenceStart(fact), ' ' + CanonicalSentence(fact)};
}

void AddRounds(const std::vector<Round>& rounds, std::string_view last, JsonLine& line) {
  const auto key = [](size_t round, char stage) { return "O_" + std::to_string(round) + stage; };
  for (size_t i = 0; i < rounds.size(); ++i) {
    line.Add(key(i + 1, 'A'), rounds[i].start).Add(key(i + 1, 'B'), rounds[i].fact);
  }
  line.Add(key(rounds.size() + 1, 'A'), last);
}

}  // namespace onepass
