#include "train/run_folder.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/file.h"

namespace onepass {
namespace {

constexpr char kEventFile[] = "/events.out.tfevents.0.onepass";

double WallTime() {
  using std::chrono::system_clock;
  return std::chrono::duration<double>(system_clock::now().time_since_epoch()).count();
}

// Temporaries of atomic writes that a killed process left behind, in folders of folders at most so
// deep: a folder that others fill is not walked to its end.
void RemoveStaleTemporaries(const std::string& folder, int depth) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.is_directory(error) && !entry.is_symlink(error)) {
      if (depth > 0) RemoveStaleTemporaries(entry.path(), depth - 1);
    } else if (entry.path().filename().string().find(".tmp-") != std::string::npos) {
      std::filesystem::remove(entry.path(), error);
    }
  }
}

}  // namespace

Result<std::unique_ptr<RunFolder>> RunFolder::Open(const std::string& path) {
  RETURN_IF_ERROR(MakeDirectories(path));
  std::unique_ptr<RunFolder> folder(new RunFolder(path));
  ASSIGN_OR_RETURN(folder->metrics_, AppendFile::Open(path + "/metrics.jsonl"));
  ASSIGN_OR_RETURN(folder->events_, AppendFile::Open(path + kEventFile));
  RemoveStaleTemporaries(path, 0);
  for (const char* name : {"/best", "/last"}) RemoveStaleTemporaries(path + name, 1);
  return folder;
}

Status RunFolder::RemoveCheckpoint() { return RemoveFile(CheckpointPath()); }

Status RunFolder::ContinueFrom(const TrainState& state) {
  RETURN_IF_ERROR(metrics_->CutTo(state.metrics_bytes));
  RETURN_IF_ERROR(events_->CutTo(state.events_bytes));
  if (events_->size() > 0) return Status::Ok();
  return events_->Append(VersionRecord(WallTime()));
}

Status RunFolder::Log(int64_t step, const nlohmann::ordered_json& line,
                      const std::vector<ScalarEvent>& scalars) {
  RETURN_IF_ERROR(metrics_->Append(line.dump() + "\n"));
  return events_->Append(ScalarsRecord(WallTime(), step, scalars));
}

Status RunFolder::SavePrompt(const std::string& name, SoftPrompt prompt) {
  const std::string folder = path_ + "/" + name;
  RETURN_IF_ERROR(MakeDirectories(folder));
  return SaveSoftPrompt(prompt, folder);
}

Status RunFolder::SaveCheckpoint(TrainState& state) {
  RETURN_IF_ERROR(metrics_->Sync());
  RETURN_IF_ERROR(events_->Sync());
  state.metrics_bytes = metrics_->size();
  state.events_bytes = events_->size();
  return SaveTrainState(state, CheckpointPath());
}

}  // namespace onepass
