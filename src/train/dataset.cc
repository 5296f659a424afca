#include "train/dataset.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "chain/cut.h"
#include "chain/trace.h"
#include "core/hash.h"
#include "core/quote.h"
#include "core/rng.h"

namespace onepass {
namespace {

constexpr size_t kMaxWarnings = 10;

// Makes samples of records, one at a time.
class SampleMaker {
 public:
  SampleMaker(const ChainTemplates& templates, const Plan& plan, const TapePlan& tape,
              const std::vector<int64_t>& prompt_lengths, const DatasetOptions& options)
      : templates_(templates),
        plan_(plan),
        tape_(tape),
        prompt_lengths_(prompt_lengths),
        options_(options) {}

  Status Prepare() {
    if (!options_.distill_output.empty()) {
      ASSIGN_OR_RETURN(distill_, ParseTemplate(options_.distill_output));
    }
    return Status::Ok();
  }

  // The sample, or none where it has no targets, or is too long and to be left out.
  Result<std::optional<TrainSample>> Make(Record record, bool* overlong) const {
    *overlong = false;
    ASSIGN_OR_RETURN(TrainSample sample, Encode(record));
    if (sample.targets.empty()) return std::optional<TrainSample>();
    const std::string too_long = TooLong(sample);
    if (too_long.empty()) return std::optional(std::move(sample));
    *overlong = true;
    switch (options_.overlong) {
      case OverlongSample::kSkip:
        return std::optional<TrainSample>();
      case OverlongSample::kCut:
        return Cut(std::move(record));
      case OverlongSample::kRefuse:
        break;
    }
    return InvalidArgument(record.Where() + ": " + too_long +
                           " (overlong=cut shortens it, overlong=skip leaves it out)");
  }

 private:
  Result<TrainSample> Encode(const Record& record) const {
    TrainSample sample;
    Transcript transcript{.record = &record, .texts = {}};
    if (options_.distill_output.empty() && options_.distill_rounds.empty()) {
      ASSIGN_OR_RETURN(transcript.texts, TraceOf(plan_, options_.outputs, options_.tools, record));
    } else {
      RETURN_IF_ERROR(DistillInto(&transcript));
    }
    ASSIGN_OR_RETURN(sample.tokens, TokensOfPlan(templates_, plan_, transcript));
    for (int step = 0; step < plan_.step_count(); ++step) {
      sample.ran.push_back(transcript.HasRun(step));
    }
    for (const int id : tape_.targets) {
      const PlannedSegment& segment = plan_.segments[id];
      if (!sample.ran[segment.step]) continue;
      TrainSample::Target& target = sample.targets.emplace_back();
      target.id = id;
      target.start_count = std::ssize(templates_.StartTokens(segment.stage));
      const std::vector<TokenId>& stop = templates_.StopTokens(segment.stage);
      if (!stop.empty()) target.end_token = stop.front();
      RETURN_IF_ERROR(CheckTarget(record, sample, target));
    }
    return sample;
  }

  Status CheckTarget(const Record& record, const TrainSample& sample,
                     const TrainSample::Target& target) const {
    if (std::ssize(sample.tokens[target.id]) <= target.start_count) {
      return InvalidArgument(record.Where() + ": want an output to learn, found an empty text");
    }
    if (target.start_count > 0) return Status::Ok();
    for (const int id : plan_.steps[plan_.segments[target.id].step].writes) {
      if (id != target.id && LengthOf(sample, id) > 0) return Status::Ok();
    }
    return InvalidArgument(record.Where() +
                           ": want a start token or an own input before the output, found none");
  }

  // The only stage's output; tools run before it.
  Status DistillInto(Transcript* transcript) const {
    ASSIGN_OR_RETURN(const std::string output, DistillOutput(*transcript->record));
    transcript->texts.resize(plan_.steps.size());
    for (int step = 0; step < plan_.step_count(); ++step) {
      if (plan_.steps[step].tool < 0) {
        transcript->texts[step] = output;
        continue;
      }
      ASSIGN_OR_RETURN(const ToolResult found, options_.tools->Run(plan_, step, *transcript));
      transcript->texts[step] = found.text;
    }
    return Status::Ok();
  }

  Result<std::string> DistillOutput(const Record& record) const {
    std::string text;
    bool more = !options_.distill_rounds.empty();
    for (int run = 0; more; ++run) {
      for (const std::string& part : options_.distill_rounds) {
        ASSIGN_OR_RETURN(const std::vector<TemplatePiece> pieces,
                         ParseTemplate(TraceField(part, run)));
        more = more && std::ranges::all_of(pieces, [&](const TemplatePiece& piece) {
                 return !piece.is_field || record.Find(piece.text) != nullptr;
               });
        if (!more) break;
        RETURN_IF_ERROR(Append(pieces, record, &text));
      }
    }
    RETURN_IF_ERROR(Append(distill_, record, &text));
    return text;
  }

  static Status Append(const std::vector<TemplatePiece>& pieces, const Record& record,
                       std::string* text) {
    for (const TemplatePiece& piece : pieces) {
      if (!piece.is_field) {
        *text += piece.text;
        continue;
      }
      ASSIGN_OR_RETURN(const std::string_view value, record.Text(piece.text));
      *text += value;
    }
    return Status::Ok();
  }

  int64_t LengthOf(const TrainSample& sample, int id) const {
    const PlannedSegment& segment = plan_.segments[id];
    if (segment.step >= 0 && !sample.ran[segment.step]) return 0;
    return segment.kind == SegmentKind::kPrompt ? prompt_lengths_[segment.stage]
                                                : std::ssize(sample.tokens[id]);
  }

  // What max_tokens, the base's context or the chain's room has too little of; empty: it fits.
  std::string TooLong(const TrainSample& sample) const {
    std::vector<int64_t> counts(plan_.segments.size());
    int64_t first = 0;  // the longest input that stands first
    for (size_t id = 0; id < counts.size(); ++id) {
      counts[id] = LengthOf(sample, static_cast<int>(id));
      if (plan_.segments[id].before_shared) first = std::max(first, counts[id]);
    }
    const auto at_most = [](int64_t limit, const std::string& of, int64_t found) {
      return "want at most " + std::to_string(limit) + " " + of + ", found " +
             std::to_string(found);
    };
    if (first > plan_.room) {
      return at_most(plan_.room, "tokens in an input that stands first (the chain's room)", first);
    }
    const int64_t tokens = sample.TokenCount(tape_);
    if (tokens > options_.max_tokens) {
      return at_most(options_.max_tokens, "tokens (max_tokens)", tokens);
    }
    const int64_t end = EndOfPlan(plan_, counts);
    if (end > options_.max_positions) {
      return at_most(options_.max_positions, "positions (the base's context)", end);
    }
    return "";
  }

  // Cuts the end of cut_field so that the sample fits (CutToFit says how close).
  Result<std::optional<TrainSample>> Cut(Record record) const {
    RecordField* field = nullptr;
    for (RecordField& candidate : record.fields) {
      if (candidate.name == options_.cut_field && candidate.kind == RecordField::Kind::kText) {
        field = &candidate;
      }
    }
    if (field == nullptr) {
      return InvalidArgument(record.Where() + ": too long: want a text field " +
                             Quote(options_.cut_field) + " to cut, found none");
    }
    const std::string whole = field->text;
    std::optional<TrainSample> best;
    std::string least;  // what is wrong with the sample that has nothing left of the field
    const auto fits = [&](std::string_view prefix) -> Result<bool> {
      field->text = prefix;
      ASSIGN_OR_RETURN(TrainSample sample, Encode(record));
      const std::string too_long = TooLong(sample);
      if (prefix.empty()) least = too_long;
      if (!too_long.empty()) return false;
      best = std::move(sample);
      return true;
    };
    ASSIGN_OR_RETURN(const std::optional<size_t> size, CutToFit(whole, /*guess=*/0, fits));
    if (!size.has_value()) {
      return InvalidArgument(record.Where() + ": too long even with an empty " +
                             Quote(options_.cut_field) + ": " + least);
    }
    return best;
  }

  const ChainTemplates& templates_;
  const Plan& plan_;
  const TapePlan& tape_;
  const std::vector<int64_t>& prompt_lengths_;
  const DatasetOptions& options_;
  std::vector<TemplatePiece> distill_;
};

uint64_t HashSample(uint64_t hash, const TrainSample& sample) {
  for (const std::vector<int32_t>& tokens : sample.tokens) {
    hash = HashCombine(hash, tokens.size());
    for (int32_t token : tokens) hash = HashCombine(hash, static_cast<uint64_t>(token));
  }
  for (const bool ran : sample.ran) hash = HashCombine(hash, ran ? 1 : 0);
  for (const TrainSample::Target& target : sample.targets) {
    hash = HashCombine(hash, static_cast<uint64_t>(target.start_count));
    hash = HashCombine(hash, target.end_token ? 1 + uint64_t(*target.end_token) : 0);
  }
  return hash;
}

}  // namespace

Result<Dataset> LoadDataset(const std::string& path, const ChainTemplates& templates,
                            const Plan& plan, const TapePlan& tape,
                            const std::vector<int64_t>& prompt_lengths,
                            const DatasetOptions& options) {
  SampleMaker maker(templates, plan, tape, prompt_lengths, options);
  RETURN_IF_ERROR(maker.Prepare().WithPrefix("distill_output"));
  ASSIGN_OR_RETURN(const std::unique_ptr<RecordReader> reader, RecordReader::Open(path));
  Dataset dataset;
  while (options.max_samples == 0 || std::ssize(dataset.samples) < options.max_samples) {
    Result<std::optional<Record>> record = reader->Next();
    Status fault = record.status();
    if (record.ok()) {
      if (!record->has_value()) break;
      bool overlong = false;
      const Status prepared = options.prepare ? options.prepare(&**record) : Status::Ok();
      Result<std::optional<TrainSample>> sample =
          prepared.ok() ? maker.Make(std::move(**record), &overlong) : prepared;
      fault = sample.status().WithPrefix(path);
      if (overlong) ++dataset.overlong_count;
      if (sample.ok() && !sample->has_value() && !overlong) ++dataset.targetless_count;
      if (sample.ok() && sample->has_value()) {
        (*sample)->index = std::ssize(dataset.samples);
        dataset.content_hash = HashSample(dataset.content_hash, **sample);
        dataset.samples.push_back(std::move(**sample));
      }
    }
    if (fault.ok()) continue;
    if (options.on_error == OnError::kStop || reader->broken()) return fault;
    ++dataset.faulty_count;
    if (dataset.warnings.size() < kMaxWarnings) dataset.warnings.push_back(fault.message());
  }
  if (dataset.samples.empty()) {
    std::string why;
    if (dataset.targetless_count > 0) {
      why = std::to_string(dataset.targetless_count) + " records in which no trained stage runs";
    }
    if (!dataset.warnings.empty()) why = dataset.warnings.front();
    return InvalidArgument(path + ": want at least one sample, found none" +
                           (why.empty() ? "" : " (" + why + ")"));
  }
  return dataset;
}

std::vector<int32_t> EpochOrder(int64_t sample_count, uint64_t seed, int64_t epoch) {
  std::vector<int32_t> order(sample_count);
  std::iota(order.begin(), order.end(), 0);
  Rng rng = Rng(seed).Fork(static_cast<uint64_t>(epoch));
  rng.Shuffle(order);
  return order;
}

}  // namespace onepass
