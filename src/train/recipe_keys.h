// The keys of a recipe, as a table: name, what a value must be, how it is set and read.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "train/recipe.h"

namespace onepass {

struct RecipeKey {
  std::string name;
  std::string wanted;          // "a number > 0", for messages
  bool shapes_result = false;  // the trained prompt depends on it
  // Sets the field; says false where the text is not what is wanted. A relative path is
  // resolved beside `file`; empty: against the working directory.
  std::function<bool(Recipe&, const std::string& text, const std::string& file)> set;
  std::function<nlohmann::json(const Recipe&)> get;
  bool is_path = false;
};

// Every key, once, in the order of the documentation.
const std::vector<RecipeKey>& RecipeKeys();

}  // namespace onepass
