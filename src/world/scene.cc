#include "world/scene.h"

#include <array>
#include <cstddef>
#include <utility>

#include "world/documents.h"

namespace onepass {

Scene DrawScene(const FormatOptions& options, bool names_alike, Rng& rng) {
  constexpr std::array<std::array<int, 2>, 3> kFactCounts = {{{2, 6}, {5, 11}, {10, 18}}};
  int level = options.level;
  if (level > 1 && rng.Chance(level == 3 ? 0.5 : 0.4))
    level -= static_cast<int>(rng.UniformInt(1, level - 1));
  MicroWorldOptions world_options;
  world_options.split = options.split;
  world_options.names_alike = names_alike;
  world_options.person_count =
      static_cast<int>(rng.UniformInt(level == 1 ? 1 : 2, level == 3 ? 4 : 3));
  world_options.company_count =
      static_cast<int>(rng.UniformInt(level == 1 ? 0 : 1, level == 3 ? 3 : 2));
  world_options.city_count =
      static_cast<int>(rng.UniformInt(level == 1 ? 0 : 1, level == 3 ? 3 : 2));
  const auto& range = kFactCounts[static_cast<size_t>(level - 1)];
  world_options.fact_count = static_cast<int>(rng.UniformInt(range[0], range[1]));
  Scene scene{level, {}, {}, ""};
  while (scene.world.facts.size() < 2) scene.world = DrawMicroWorld(world_options, rng);
  const bool in_documents = level == 3 ? rng.Chance(0.7) : level == 2 && rng.Chance(0.4);
  if (in_documents) {
    const std::vector<Document> documents =
        WriteDocuments(scene.world, static_cast<int>(rng.UniformInt(2, 2 * level)), rng);
    scene.text = JoinDocuments(documents);
    for (const Document& document : documents) {
      scene.told.insert(scene.told.end(), document.facts.begin(), document.facts.end());
    }
  } else {
    scene.told = scene.world.facts;
    const bool plain = options.level == 1 && rng.Chance(0.8);
    scene.text = plain ? WriteSummary(scene.told) : WritePassage(scene.told, rng);
  }
  return scene;
}

std::vector<Question> MixedQuestions(const MicroWorld& world, size_t count, double two_step_share,
                                     Rng& rng) {
  std::vector<Question> one = DrawQuestions(world, 1, rng);
  std::vector<Question> two = DrawQuestions(world, 2, rng);
  std::vector<Question> mixed;
  while (mixed.size() < count && (!one.empty() || !two.empty())) {
    if (one.empty() && two_step_share == 0 && !mixed.empty()) break;
    std::vector<Question>& from =
        two.empty() || (!one.empty() && !rng.Chance(two_step_share)) ? one : two;
    mixed.push_back(std::move(from.back()));
    from.pop_back();
  }
  return mixed;
}

FormatSample Single(std::string prompt, std::string output, int hops) {
  return {"", {{std::move(prompt), false, 0}, {std::move(output), true, hops}}};
}

}  // namespace onepass
