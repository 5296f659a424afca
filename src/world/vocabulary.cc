#include "world/vocabulary.h"

#include <cstdint>

namespace onepass {
namespace {

using Words = std::span<const std::string_view>;

constexpr std::string_view kFirst[] = {
    "Adam",   "Alice",  "Anna",   "Arthur", "Ben",   "Carl",  "Clara",  "David",  "Diana", "Edward",
    "Ella",   "Emma",   "Eric",   "Eva",    "Felix", "Frank", "Grace",  "Hanna",  "Harry", "Helen",
    "Henry",  "Irene",  "Ivan",   "Jack",   "James", "Jane",  "Joan",   "Julia",  "Karen", "Kate",
    "Laura",  "Leo",    "Linda",  "Louis",  "Lucy",  "Maria", "Mark",   "Martin", "Max",   "Mia",
    "Nina",   "Nora",   "Oliver", "Oscar",  "Paul",  "Peter", "Ralph",  "Robert", "Rosa",  "Ruth",
    "Sam",    "Sara",   "Simon",  "Sofia",  "Susan", "Theo",  "Thomas", "Tina",   "Tom",   "Vera",
    "Victor", "Walter", "Will",   "Zoe"};
constexpr std::string_view kLast[] = {
    "Adler",  "Baker",  "Barnes", "Bell",  "Bolton", "Brown",  "Burke",  "Carter",
    "Clark",  "Cole",   "Cooper", "Cross", "Dalton", "Dean",   "Drake",  "Ellis",
    "Evans",  "Fisher", "Foster", "Fox",   "Garner", "Gibson", "Grant",  "Green",
    "Hall",   "Harris", "Hayes",  "Hill",  "Holmes", "Hunt",   "Jensen", "Kelly",
    "Kent",   "Klein",  "Knight", "Lane",  "Lewis",  "Mason",  "Meyer",  "Miller",
    "Moore",  "Nash",   "Novak",  "Owens", "Palmer", "Parker", "Perry",  "Porter",
    "Quinn",  "Reed",   "Rivera", "Ross",  "Shaw",   "Silva",  "Stone",  "Sutton",
    "Turner", "Vance",  "Wagner", "Walsh", "Ward",   "Weber",  "West",   "Young"};
constexpr std::string_view kCompanyFirst[] = {
    "Amber",  "Apex",   "Arrow",  "Atlas",   "Beacon", "Blue",  "Bright", "Cedar",
    "Clear",  "Cobalt", "Coral",  "Copper",  "Crown",  "Delta", "Eagle",  "Ember",
    "Falcon", "Global", "Golden", "Granite", "Harbor", "Iron",  "Ivory",  "Jade",
    "Lotus",  "Lunar",  "Maple",  "Noble",   "Orbit",  "Prime", "Quartz", "Rapid",
    "Royal",  "Ruby",   "Silver", "Solar",   "Summit", "Titan", "United", "Vector"};
constexpr std::string_view kCompanySecond[] = {
    "Bakery",  "Bank",     "Brothers", "Cargo",    "Circle",   "Crafts",  "Design", "Dynamics",
    "Energy",  "Export",   "Farms",    "Films",    "Foods",    "Forge",   "Garden", "Group",
    "Holding", "Labs",     "Logic",    "Machines", "Media",    "Metals",  "Mills",  "Motors",
    "Optics",  "Partners", "Press",    "Shipping", "Software", "Sports",  "Steel",  "Store",
    "Studio",  "Supply",   "Systems",  "Textile",  "Tools",    "Trading", "Travel", "Works"};
constexpr std::string_view kCityFirst[] = {"North", "South", "East",   "Old",  "New",  "Upper",
                                           "Lower", "Great", "Little", "Port", "Fort", "Lake",
                                           "Saint", "Mount", "Glen",   "High"};
constexpr std::string_view kCitySecond[] = {
    "Alden",   "Ashby",  "Barlow",   "Benton", "Brook",   "Burton",  "Camden",  "Corby",
    "Dover",   "Elmore", "Fairview", "Farley", "Gates",   "Hadley",  "Harlow",  "Ilford",
    "Kirby",   "Linden", "Marlow",   "Milton", "Norwood", "Oakley",  "Orford",  "Penrose",
    "Preston", "Radley", "Ripley",   "Selby",  "Sherman", "Stanton", "Tilbury", "Upton",
    "Vernon",  "Wells",  "Weston",   "Whitby", "Wilton",  "Windsor", "Wood",    "York"};
constexpr std::string_view kCountry[] = {
    "Albania", "Angola",  "Belgium", "Bolivia", "Brazil",  "Canada", "Chad",   "Chile",
    "Cuba",    "Denmark", "Egypt",   "Estonia", "Finland", "France", "Ghana",  "Greece",
    "Iceland", "India",   "Ireland", "Italy",   "Japan",   "Jordan", "Kenya",  "Latvia",
    "Malta",   "Mexico",  "Morocco", "Nepal",   "Norway",  "Oman",   "Peru",   "Poland",
    "Qatar",   "Spain",   "Sudan",   "Sweden",  "Togo",    "Turkey", "Uganda", "Vietnam"};
constexpr std::string_view kProfession[] = {
    "actor", "artist",  "barber",  "builder", "butcher", "chemist", "clerk",   "coach",
    "cook",  "dancer",  "dentist", "doctor",  "driver",  "editor",  "farmer",  "florist",
    "guard", "judge",   "lawyer",  "miner",   "nurse",   "painter", "pilot",   "plumber",
    "poet",  "printer", "sailor",  "singer",  "surgeon", "tailor",  "teacher", "writer"};
constexpr std::string_view kHobby[] = {
    "archery", "bowling",  "boxing",  "camping", "chess",   "climbing", "cycling", "dancing",
    "drawing", "fencing",  "fishing", "golf",    "hiking",  "hockey",   "hunting", "judo",
    "karate",  "knitting", "origami", "poker",   "pottery", "reading",  "rowing",  "rugby",
    "running", "sailing",  "sewing",  "singing", "skating", "skiing",   "tennis",  "yoga"};
constexpr std::string_view kPet[] = {
    "bird", "camel",  "cat",     "cow",   "dog",    "donkey", "duck",   "ferret", "fish",   "frog",
    "goat", "goose",  "hamster", "horse", "lizard", "monkey", "mouse",  "owl",    "parrot", "pig",
    "pony", "rabbit", "rat",     "sheep", "snake",  "spider", "turkey", "turtle"};
constexpr std::string_view kProduct[] = {
    "batteries", "beds",    "bells",   "belts",  "bikes",   "boats",   "books",   "boots",
    "bottles",   "brushes", "buttons", "cables", "cameras", "candles", "chairs",  "clocks",
    "coats",     "cups",    "desks",   "doors",  "engines", "gloves",  "guitars", "hats",
    "knives",    "ladders", "lamps",   "locks",  "mirrors", "pens",    "phones",  "pianos",
    "radios",    "ropes",   "shoes",   "soap",   "tables",  "tents",   "toys",    "watches"};
constexpr std::string_view kRiver[] = {
    "Aller",  "Avon",  "Bann",  "Clyde",  "Dee",   "Derwent", "Don",   "Ebro",   "Elbe",
    "Exe",    "Forth", "Havel", "Humber", "Isar",  "Kama",    "Lena",  "Loire",  "Mersey",
    "Neckar", "Neva",  "Oder",  "Ouse",   "Plym",  "Rhone",   "Saale", "Severn", "Spree",
    "Tagus",  "Tamar", "Tees",  "Trent",  "Tweed", "Tyne",    "Volga", "Wear",   "Weser"};
constexpr std::string_view kDish[] = {
    "beans",   "bread",   "butter",  "cake",   "candy",  "cheese",   "cherries", "cider",
    "cookies", "corn",    "crab",    "grapes", "ham",    "honey",    "jam",      "lamb",
    "lemons",  "mustard", "noodles", "nuts",   "olives", "onions",   "oranges",  "pasta",
    "peaches", "pears",   "pepper",  "pies",   "plums",  "potatoes", "rice",     "salad",
    "salmon",  "sauce",   "soup",    "stew",   "sugar",  "tea",      "tomatoes", "wine"};

constexpr std::string_view kMovePeople[] = {
    "Adam",   "Alice", "Anna",  "Bill",  "Clara", "Daniel", "David", "Emma",
    "Fred",   "Grace", "Helen", "Henry", "Jeff",  "John",   "Julie", "Leo",
    "Lucy",   "Mary",  "Nora",  "Oscar", "Paul",  "Peter",  "Ruth",  "Sam",
    "Sandra", "Simon", "Susan", "Tina",  "Tom",   "Vera",   "Will",  "Zoe"};
constexpr std::string_view kMovePlaces[] = {
    "attic",  "balcony", "barn",    "basement", "bathroom", "bedroom", "cellar",
    "church", "cinema",  "garage",  "garden",   "hall",     "hallway", "hospital",
    "hotel",  "kitchen", "library", "market",   "museum",   "office",  "park",
    "porch",  "school",  "shop",    "station",  "studio",   "theater", "yard"};
constexpr std::string_view kMoveThings[] = {
    "apple", "ball", "basket", "book",     "bottle", "bowl", "box",  "brush", "candle", "coat",
    "coin",  "cup",  "flute",  "football", "hammer", "hat",  "key",  "knife", "lamp",   "letter",
    "map",   "milk", "mirror", "phone",    "plate",  "ring", "rope", "spoon", "towel",  "umbrella"};

Words Pool(Kind kind, bool second) {
  switch (kind) {
    case Kind::kPerson:
      return second ? Words(kLast) : Words(kFirst);
    case Kind::kCompany:
      return second ? Words(kCompanySecond) : Words(kCompanyFirst);
    case Kind::kCity:
      return second ? Words(kCitySecond) : Words(kCityFirst);
    case Kind::kCountry:
      return kCountry;
    case Kind::kProfession:
      return kProfession;
    case Kind::kHobby:
      return kHobby;
    case Kind::kPet:
      return kPet;
    case Kind::kProduct:
      return kProduct;
    case Kind::kRiver:
      return kRiver;
    case Kind::kDish:
      return kDish;
  }
  return kCountry;
}

}  // namespace

std::string_view SplitName(Split split) {
  switch (split) {
    case Split::kPretrain:
      return "pretrain";
    case Split::kTrain:
      return "train";
    case Split::kValidation:
      return "validation";
    case Split::kTest:
      return "test";
  }
  return "?";
}

Split SplitOfName(std::string_view name) {
  uint64_t hash =
      0xcbf29ce484222325ULL;  // FNV-1a, then mixed so that the low bits depend on every letter
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  const uint64_t bucket = SplitMix64(hash) % 20;
  if (bucket < 10) return Split::kPretrain;
  if (bucket < 15) return Split::kTrain;
  return bucket < 17 ? Split::kValidation : Split::kTest;
}

std::string RandomName(Kind kind, Split split, Rng& rng) {
  if (!HasFacts(kind)) return std::string(rng.Pick(Pool(kind, false)));
  while (true) {
    std::string name(rng.Pick(Pool(kind, false)));
    name += ' ';
    name += rng.Pick(Pool(kind, true));
    if (SplitOfName(name) == split) return name;
  }
}

std::span<const std::string_view> MovePeople() { return kMovePeople; }
std::span<const std::string_view> MovePlaces() { return kMovePlaces; }
std::span<const std::string_view> MoveThings() { return kMoveThings; }

}  // namespace onepass
