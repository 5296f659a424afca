#include "eval/report_files.h"

#include "core/file.h"
#include "eval/bench_section.h"
#include "eval/out_folder.h"
#include "eval/report.h"

namespace onepass {
namespace {

constexpr int64_t kMaxResultsBytes = int64_t{64} << 20;

}  // namespace

Status CombineReports(const std::vector<std::string>& folders,
                      const std::vector<std::string>& benches, const std::string& title,
                      const std::vector<std::string>& notes, const std::string& out) {
  if (folders.empty() && benches.empty()) {
    return InvalidArgument("report: want at least one folder, found none");
  }
  Report report{.title = title, .notes = notes, .sections = {}};
  for (const std::string& folder : folders) {
    const std::string path = folder + "/results.json";
    ASSIGN_OR_RETURN(const std::string json, ReadFile(path, kMaxResultsBytes));
    ASSIGN_OR_RETURN(const TaskResults results, ParseResults(json, path));
    report.sections.push_back(SectionOf(results));
  }
  for (const std::string& path : benches) {
    ASSIGN_OR_RETURN(const std::string json, ReadFile(path, kMaxResultsBytes));
    ASSIGN_OR_RETURN(ReportSection section, BenchSectionOf(json, path));
    report.sections.push_back(std::move(section));
  }
  ASSIGN_OR_RETURN(OutFolder made, OutFolder::Make(out));
  std::vector<std::pair<std::string, std::string>> files;
  for (auto& [file, text] : ReportFiles(report)) files.emplace_back(out + "/" + file, text);
  RETURN_IF_ERROR(WriteTogether(files));
  made.Keep();
  return Status::Ok();
}

}  // namespace onepass
