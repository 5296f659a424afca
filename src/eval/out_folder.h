// The folder that a comparison writes to: none is left where nothing came of it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/status.h"

namespace onepass {

// Makes a folder, and those above it that are missing. Destroyed without Keep() it removes those
// that it made and that are still empty. Movable, not copyable.
class OutFolder {
 public:
  static Result<OutFolder> Make(const std::string& path);
  ~OutFolder();
  OutFolder(OutFolder&& other) noexcept { *this = std::move(other); }
  OutFolder& operator=(OutFolder&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(made_, other.made_);
    return *this;
  }

  const std::string& path() const { return path_; }
  void Keep() { made_.clear(); }

 private:
  OutFolder() = default;
  std::string path_;
  std::vector<std::string> made_;  // the innermost first
};

// Files as pairs of path and text. All are written before the first takes its place: a full disk
// leaves the old ones together.
Status WriteTogether(const std::vector<std::pair<std::string, std::string>>& files);

}  // namespace onepass
