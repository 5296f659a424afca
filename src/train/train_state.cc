#include "train/train_state.h"

#include <bit>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "core/quote.h"
#include "format/safetensors.h"

namespace onepass {
namespace {

constexpr char kFormat[] = "onepass-train-state-1";

NamedTensor Named(const char* name, const Buffer<float>& buffer) {
  return {name,
          {.dtype = DType::kF32,
           .shape = {buffer.rows(), buffer.cols()},
           .bytes = std::as_bytes(buffer.span())}};
}

// Doubles travel as their bits, so that nothing is lost.
std::string Bits(double value) { return std::to_string(std::bit_cast<uint64_t>(value)); }

// Reads typed values out of a checkpoint's metadata.
class Metadata {
 public:
  Metadata(const std::map<std::string, std::string>& values, std::string path)
      : values_(values), path_(std::move(path)) {}

  // Empty where there is none.
  std::string Text(const char* key) const {
    const auto it = values_.find(key);
    return it == values_.end() ? "" : it->second;
  }
  template <class T>
  Status Read(const char* key, T* out) const {
    const std::string text = Text(key);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
    if (error == std::errc() && end == text.data() + text.size()) return Status::Ok();
    return InvalidArgument(path_ + ": \"" + key + "\": want a number, found " + Quote(text));
  }
  Status ReadBits(const char* key, double* out) const {
    uint64_t bits = 0;
    RETURN_IF_ERROR(Read(key, &bits));
    *out = std::bit_cast<double>(bits);
    return Status::Ok();
  }

 private:
  const std::map<std::string, std::string>& values_;
  std::string path_;
};

Result<Buffer<float>> ReadMatrix(const SafetensorsFile& file, const char* name,
                                 const std::string& path) {
  const auto it = file.tensors().find(name);
  if (it == file.tensors().end()) {
    return InvalidArgument(path + ": \"" + name + "\": want a tensor, found none");
  }
  const RawTensor& tensor = it->second;
  if (tensor.dtype != DType::kF32 || tensor.shape.size() != 2) {
    return InvalidArgument(path + ": \"" + name + "\": want F32 [P, C], found " +
                           std::string(NameOf(tensor.dtype)) + " " + ShapeToString(tensor.shape));
  }
  Buffer<float> buffer(tensor.shape[0], tensor.shape[1]);
  ConvertTo<float>(tensor, 0, buffer.size(), buffer.data());
  return buffer;
}

}  // namespace

Status SaveTrainState(const TrainState& state, const std::string& path) {
  std::vector<NamedTensor> tensors = {Named("prompt", state.prompt),
                                      Named("adam_first_moment", state.first_moment),
                                      Named("adam_second_moment", state.second_moment)};
  if (state.best_step >= 0) tensors.push_back(Named("best_prompt", state.best_prompt));
  const std::map<std::string, std::string> metadata = {
      {"kind", kFormat},
      {"step", std::to_string(state.step)},
      {"best_step", std::to_string(state.best_step)},
      {"best_loss_bits", Bits(state.best_loss)},
      {"last_loss_bits", Bits(state.last_loss)},
      {"metrics_bytes", std::to_string(state.metrics_bytes)},
      {"events_bytes", std::to_string(state.events_bytes)},
      {"seconds_bits", Bits(state.seconds)},
      {"instruction_set", state.instruction_set},
      {"identity", state.identity},
  };
  return WriteSafetensors(path, tensors, metadata);
}

Result<TrainState> LoadTrainState(const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const SafetensorsFile> file, SafetensorsFile::Open(path));
  const auto kind = file->metadata().find("kind");
  if (kind == file->metadata().end() || kind->second != kFormat) {
    return InvalidArgument(path + ": want a training checkpoint (" + kFormat + "), found " +
                           (kind == file->metadata().end() ? "another file" : Quote(kind->second)));
  }
  const Metadata metadata(file->metadata(), path);
  TrainState state;
  RETURN_IF_ERROR(metadata.Read("step", &state.step));
  RETURN_IF_ERROR(metadata.Read("best_step", &state.best_step));
  RETURN_IF_ERROR(metadata.ReadBits("best_loss_bits", &state.best_loss));
  RETURN_IF_ERROR(metadata.ReadBits("last_loss_bits", &state.last_loss));
  RETURN_IF_ERROR(metadata.Read("metrics_bytes", &state.metrics_bytes));
  RETURN_IF_ERROR(metadata.Read("events_bytes", &state.events_bytes));
  RETURN_IF_ERROR(metadata.ReadBits("seconds_bits", &state.seconds));
  state.instruction_set = metadata.Text("instruction_set");
  state.identity = metadata.Text("identity");

  ASSIGN_OR_RETURN(state.prompt, ReadMatrix(*file, "prompt", path));
  ASSIGN_OR_RETURN(state.first_moment, ReadMatrix(*file, "adam_first_moment", path));
  ASSIGN_OR_RETURN(state.second_moment, ReadMatrix(*file, "adam_second_moment", path));
  std::vector<const Buffer<float>*> others = {&state.first_moment, &state.second_moment};
  if (state.best_step >= 0) {
    ASSIGN_OR_RETURN(state.best_prompt, ReadMatrix(*file, "best_prompt", path));
    others.push_back(&state.best_prompt);
  }
  for (const Buffer<float>* other : others) {
    if (other->rows() != state.prompt.rows() || other->cols() != state.prompt.cols()) {
      return InvalidArgument(path + ": want tensors of one shape, found several");
    }
  }
  if (state.step < 0 || state.metrics_bytes < 0 || state.events_bytes < 0) {
    return InvalidArgument(path + ": want counts >= 0, found a negative one");
  }
  return state;
}

Status CheckSameIdentity(const std::string& kept, const std::string& run, const std::string& path,
                         const IdentityWords& words) {
  const nlohmann::json old_values = nlohmann::json::parse(kept, nullptr, false);
  const nlohmann::json new_values = nlohmann::json::parse(run, nullptr, false);
  if (!old_values.is_object()) return InvalidArgument(path + ": want a recipe in it, found none");
  ONEPASS_CHECK(new_values.is_object(), "a run's identity is a JSON object");
  // Hashes last: a setting that differs explains a hash that does.
  std::set<std::pair<bool, std::string>> keys;
  for (const nlohmann::json* values : {&old_values, &new_values}) {
    for (const auto& item : values->items()) {
      keys.insert({item.key().ends_with("_hash"), item.key()});
    }
  }
  for (const auto& [is_hash, key] : keys) {
    const nlohmann::json found = old_values.value(key, nlohmann::json());
    const nlohmann::json wanted = new_values.value(key, nlohmann::json());
    if (found == wanted) continue;
    if (is_hash) {
      return InvalidArgument(path + ": " + key + ": want what the " + words.noun + " was " +
                             words.made + " with, found other content (" + words.remedy + ")");
    }
    const auto spell = [](const nlohmann::json& json) {
      return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    };
    return InvalidArgument(path + ": it belongs to another recipe: " + key + ": " + words.noun +
                           " " + spell(found) + ", recipe " + spell(wanted) + " (" + words.remedy +
                           ")");
  }
  return Status::Ok();
}

}  // namespace onepass
