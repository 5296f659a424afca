// onepass index build | search: a BM25 index of documents, and what fits a text best.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "chain/record.h"
#include "commands.h"
#include "core/utf8.h"
#include "retrieval/bm25_index.h"
#include "retrieval/bm25_index_builder.h"

namespace onepass {
namespace {

struct BuildFlags {
  Bm25BuildOptions options;
  std::string input;
  std::string out;
  std::string id_field = "id";
  std::string text_field = "text";
  std::string title_field = "title";
};

// One line that rewrites itself on a terminal; nothing elsewhere.
class ProgressLine {
 public:
  explicit ProgressLine(const RecordReader& reader) : reader_(reader) {}
  ~ProgressLine() {
    if (is_terminal_) std::fprintf(stderr, "\r\033[K");
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Show(const Bm25BuildProgress& now) const {
    if (!is_terminal_) return;
    const double share = 100.0 * static_cast<double>(reader_.bytes_read()) /
                         static_cast<double>(std::max<int64_t>(reader_.bytes_total(), 1));
    std::fprintf(
        stderr, "\r\033[K%lld documents, %s", static_cast<long long>(now.documents),
        now.writing ? "writing the index" : fmt::format("{:.0f}% of the input", share).c_str());
  }

 private:
  const RecordReader& reader_;
  bool is_terminal_ = isatty(STDERR_FILENO) != 0;
};

Result<IndexDocument> DocumentOf(const Record& record, const BuildFlags& flags) {
  ASSIGN_OR_RETURN(const std::string_view id, record.Text(flags.id_field));
  ASSIGN_OR_RETURN(const std::string_view text, record.Text(flags.text_field));
  std::string_view title;
  const RecordField* field = record.Find(flags.title_field);
  if (field != nullptr && field->json_type != "null") {
    ASSIGN_OR_RETURN(title, record.Text(flags.title_field));
  }
  return IndexDocument{.id = std::string(id),
                       .text = std::string(text),
                       .title = std::string(title),
                       .line = record.line};
}

Result<Bm25Facts> Build(BuildFlags flags) {
  ASSIGN_OR_RETURN(const std::unique_ptr<RecordReader> reader, RecordReader::Open(flags.input));
  const ProgressLine line(*reader);
  flags.options.on_progress = [&line](const Bm25BuildProgress& now) { line.Show(now); };
  ASSIGN_OR_RETURN(const std::unique_ptr<Bm25IndexBuilder> builder,
                   Bm25IndexBuilder::Create(flags.out, flags.options));
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Record> record, reader->Next());
    if (!record) return builder->Finish();
    const Result<IndexDocument> document = DocumentOf(*record, flags);
    RETURN_IF_ERROR(document.status().WithPrefix(flags.input));
    RETURN_IF_ERROR(builder->Add(*document).WithPrefix(flags.input));
  }
}

Status RunBuild(const BuildFlags& flags) {
  CheckUsage(flags.options.Validate());
  ASSIGN_OR_RETURN(const Bm25Facts facts, Build(flags));
  fmt::print("{}: {} documents, {} words, {} bytes\n", flags.out, facts.documents, facts.words,
             facts.bytes);
  return Status::Ok();
}

struct SearchFlags {
  Bm25SearchOptions options;
  std::string index;
  std::string query;
  bool json = false;
};

// The beginning of a text as a terminal may show it: no control characters, single spaces.
std::string OneLine(std::string_view text, size_t max_bytes) {
  std::string line;
  bool was_cut = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Part part = FirstUtf8Part(text.substr(at));
    const std::string_view character = text.substr(at, part.length);
    at += part.length;
    // U+0080 to U+009F steer terminals too.
    const bool is_control = static_cast<unsigned char>(character[0]) < 0x20 ||
                            character[0] == 0x7f || character[0] == ' ' ||
                            (character.size() == 2 && character[0] == '\xc2' &&
                             static_cast<unsigned char>(character[1]) < 0xa0) ||
                            !part.complete;
    if (is_control && (line.empty() || line.back() == ' ')) continue;
    if (line.size() + character.size() > max_bytes) {
      was_cut = true;
      break;
    }
    line += is_control ? " " : character;
  }
  while (line.ends_with(' ')) line.pop_back();
  return was_cut ? line + "..." : line;
}

std::string HitsText(const std::vector<Hit>& hits) {
  if (hits.empty()) return "no document holds a word of the query\n";
  std::vector<std::string> ids = {"id"};
  for (const Hit& hit : hits) ids.push_back(OneLine(hit.id, 40));
  const size_t width = std::ranges::max(ids, {}, &std::string::size).size();
  std::string text = fmt::format("rank  {:>9}  {:<{}}  text\n", "score", ids[0], width);
  for (size_t i = 0; i < hits.size(); ++i) {
    const Hit& hit = hits[i];
    text += fmt::format("{:>4}  {:>9.4f}  {:<{}}  {}\n", i + 1, hit.score, ids[i + 1], width,
                        OneLine(hit.title.empty() ? hit.text : hit.title + ": " + hit.text, 60));
  }
  return text;
}

// A line a hit.
std::string HitsJson(const std::vector<Hit>& hits) {
  std::string lines;
  for (size_t i = 0; i < hits.size(); ++i) {
    nlohmann::ordered_json json;
    json["rank"] = i + 1;
    json["id"] = hits[i].id;
    json["score"] = hits[i].score;
    json["title"] = hits[i].title;
    json["text"] = hits[i].text;
    lines += json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  return lines;
}

Status RunSearch(const SearchFlags& flags) {
  const Bm25Weights defaults;
  CheckUsage(Bm25Weights{.k1 = flags.options.k1.value_or(defaults.k1),
                         .b = flags.options.b.value_or(defaults.b)}
                 .Validate());
  ASSIGN_OR_RETURN(const std::unique_ptr<Bm25Index> index, Bm25Index::Open(flags.index));
  ASSIGN_OR_RETURN(const std::vector<Hit> hits, index->Search(flags.query, flags.options));
  const std::string out = flags.json ? HitsJson(hits) : HitsText(hits);
  std::fwrite(out.data(), 1, out.size(), stdout);
  return Status::Ok();
}

void AddBuildCommand(CLI::App& index, int* exit_code) {
  CLI::App* app = index.add_subcommand("build", "index documents, whole or not at all");
  auto flags = std::make_shared<BuildFlags>();
  app->add_option("--input", flags->input, "documents: JSONL or a JSON array of objects")
      ->required();
  app->add_option("--out", flags->out, "folder to write; an index there is replaced")->required();
  app->add_option("--stem", flags->options.stem,
                  "cut off the endings of words of a language, e.g. english");
  app->add_option("--k1", flags->options.weights.k1, "how much a word's repetitions count")
      ->capture_default_str();
  app->add_option("--b", flags->options.weights.b, "how much a document's length counts, 0 to 1")
      ->capture_default_str();
  app->add_option("--id-field", flags->id_field, "field of the id, unique")->capture_default_str();
  app->add_option("--text-field", flags->text_field, "field of the text")->capture_default_str();
  app->add_option("--title-field", flags->title_field, "field of the title; may be absent")
      ->capture_default_str();
  app->callback([flags, exit_code] { *exit_code = ReportStatus(RunBuild(*flags)); });
}

void AddSearchCommand(CLI::App& index, int* exit_code) {
  CLI::App* app = index.add_subcommand("search", "the documents that fit a query best");
  auto flags = std::make_shared<SearchFlags>();
  app->add_option("index", flags->index, "folder of an index")->required();
  app->add_option("--query", flags->query, "any text; its words are all that counts")->required();
  app->add_option("--top", flags->options.top, "most documents to print")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app->add_option("--k1", flags->options.k1, "in place of the index's own");
  app->add_option("--b", flags->options.b, "in place of the index's own");
  app->add_flag("--json", flags->json, "a line of JSON a document, with its text");
  app->callback([flags, exit_code] { *exit_code = ReportStatus(RunSearch(*flags)); });
}

}  // namespace

void AddIndexCommand(CLI::App& app, int* exit_code) {
  CLI::App* index = app.add_subcommand("index", "index documents and search them (BM25)");
  index->require_subcommand(1);
  AddBuildCommand(*index, exit_code);
  AddSearchCommand(*index, exit_code);
}

}  // namespace onepass
