#include "world/moves.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "world/vocabulary.h"

namespace onepass {
namespace {

constexpr std::string_view kWalk[] = {"walked to",    "went to",      "went back to", "moved to",
                                      "journeyed to", "travelled to", "is now in"};
constexpr std::string_view kTake[] = {"took", "picked up", "got", "grabbed"};
constexpr std::string_view kLeave[] = {"put down", "dropped", "left", "discarded"};
constexpr std::string_view kWherePerson[] = {"Where is {}?", "Where is {} now?",
                                             "In which place is {}?"};
constexpr std::string_view kWhereThing[] = {"Where is the {}?", "Where is the {} now?",
                                            "In which place is the {}?"};

// Being somewhere, and the sentence that said so.
struct Stay {
  std::string_view place;
  size_t sentence;
};

struct Person {
  std::string_view name;
  std::optional<Stay> at;
};

struct Thing {
  std::string_view name;
  std::optional<size_t> holder;
  size_t touched = 0;       // the sentence of the last taking or leaving
  std::vector<Stay> stays;  // places since the last taking
};

std::string Replace(std::string_view pattern, std::string_view word) {
  const size_t at = pattern.find("{}");
  std::string text(pattern.substr(0, at));
  return text.append(word).append(pattern.substr(at + 2));
}

std::vector<std::string_view> Sample(std::span<const std::string_view> pool, size_t count,
                                     Rng& rng) {
  std::vector<std::string_view> words(pool.begin(), pool.end());
  rng.Shuffle(words);
  words.resize(std::min(count, words.size()));
  return words;
}

std::vector<MoveQuestion> AllQuestions(const std::vector<Person>& people,
                                       const std::vector<Thing>& things, Rng& rng) {
  std::vector<MoveQuestion> questions;
  for (const Person& person : people) {
    if (!person.at) continue;
    questions.push_back({Replace(rng.Pick(kWherePerson), person.name),
                         {person.at->sentence},
                         std::string(person.at->place)});
  }
  for (const Thing& thing : things) {
    if (thing.stays.empty()) continue;
    const Stay& last = thing.stays.back();
    std::vector<size_t> support = {thing.touched, last.sentence};
    questions.push_back(
        {Replace(rng.Pick(kWhereThing), thing.name), support, std::string(last.place)});
    if (thing.stays.size() < 2) continue;
    const Stay& before = thing.stays[thing.stays.size() - 2];
    support.push_back(before.sentence);
    const std::string text =
        "Where was the " + std::string(thing.name) + " before the " + std::string(last.place) + "?";
    questions.push_back({text, support, std::string(before.place)});
  }
  rng.Shuffle(questions);
  return questions;
}

}  // namespace

MoveStory DrawMoveStory(int sentence_count, Rng& rng) {
  std::vector<Person> people;
  for (const auto name : Sample(MovePeople(), static_cast<size_t>(rng.UniformInt(2, 4)), rng))
    people.push_back({name, {}});
  std::vector<Thing> things;
  for (const auto name : Sample(MoveThings(), static_cast<size_t>(rng.UniformInt(1, 3)), rng))
    things.push_back({name, {}, 0, {}});
  const std::vector<std::string_view> places =
      Sample(MovePlaces(), static_cast<size_t>(rng.UniformInt(4, 7)), rng);

  MoveStory story;
  while (static_cast<int>(story.sentences.size()) < sentence_count) {
    const size_t number = story.sentences.size();
    const size_t who = rng.Uniform(people.size());
    Person& person = people[who];
    Thing& thing = things[rng.Uniform(things.size())];
    std::string sentence = ' ' + std::string(person.name) + ' ';
    const bool act = person.at && rng.Chance(0.45);
    if (act && !thing.holder) {
      thing = {thing.name, who, number, {*person.at}};
      sentence.append(rng.Pick(kTake)).append(" the ").append(thing.name);
      if (rng.Chance(0.3)) sentence.append(" there");
    } else if (act && thing.holder == who && rng.Chance(0.5)) {
      thing.holder.reset();
      thing.touched = number;
      sentence.append(rng.Pick(kLeave)).append(" the ").append(thing.name);
    } else {
      const std::string_view place = rng.Pick(places);
      if (person.at && person.at->place == place) continue;
      person.at = Stay{place, number};
      for (Thing& carried : things) {
        if (carried.holder == who) carried.stays.push_back(*person.at);
      }
      sentence.append(rng.Pick(kWalk)).append(" the ").append(place);
    }
    story.sentences.push_back(sentence + '.');
  }
  story.questions = AllQuestions(people, things, rng);
  return story;
}

}  // namespace onepass
