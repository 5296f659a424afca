#include "eval/out_folder.h"

#include <unistd.h>

#include <filesystem>
#include <memory>

#include "core/file.h"

namespace onepass {

Result<OutFolder> OutFolder::Make(const std::string& path) {
  OutFolder folder;
  folder.path_ = path;
  std::error_code error;
  for (std::filesystem::path at = path; !at.empty() && !std::filesystem::exists(at, error);
       at = at.parent_path()) {
    folder.made_.push_back(at.string());
    if (at == at.parent_path()) break;
  }
  RETURN_IF_ERROR(MakeDirectories(path));
  return folder;
}

OutFolder::~OutFolder() {
  for (const std::string& folder : made_) ::rmdir(folder.c_str());  // refuses what is not empty
}

Status WriteTogether(const std::vector<std::pair<std::string, std::string>>& files) {
  std::vector<std::unique_ptr<AtomicFileWriter>> writers;
  for (const auto& [path, text] : files) {
    ASSIGN_OR_RETURN(auto writer, AtomicFileWriter::Create(path));
    RETURN_IF_ERROR(writer->Write(text));
    writers.push_back(std::move(writer));
  }
  for (const auto& writer : writers) RETURN_IF_ERROR(writer->Commit());
  return Status::Ok();
}

}  // namespace onepass
