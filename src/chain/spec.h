// What a chain YAML file says, parsed and checked; not yet bound to a base or a record.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chain/flow.h"
#include "core/status.h"
#include "engine/engine.h"
#include "prompt/soft_prompt.h"

namespace onepass {

// How what an earlier stage wrote reaches the next one.
//   kText        a new cache: all of prompt, shared input, text read and own input is prefilled
//   kTextCached  the same, but the KV of the shared input and of front prompts is kept, as a prefix
//                cache would keep it
//   kKv          FTHSS: the outputs' KV is attended to where it lies; nothing is recomputed
enum class Handoff { kText, kTextCached, kKv };
inline constexpr Handoff kHandoffs[] = {Handoff::kText, Handoff::kTextCached, Handoff::kKv};
std::string_view NameOf(Handoff handoff);
Result<Handoff> ParseHandoff(std::string_view text);

// Templates: literal text with {FIELD} placeholders, "{{" for a brace. Special tokens written in
// the template are tokens; those in a record's field are plain text.
struct StageSpec {
  std::string name;
  std::string prompt;                // folder, resolved against the YAML's; empty: no prompt
  std::string input;                 // own input I_i; may be empty
  bool input_first = false;          // it stands in the room, and sees its stage's prompt only
  std::string read_as = "{text}\n";  // how a text hand-off writes this stage's output
  std::string start;                 // e.g. "<bos>"; may be empty
  // Tokens that the base does not have: their rows are learned and kept with the prompt.
  std::vector<std::string> added_tokens;
  std::vector<std::string> stop_tokens;
  std::vector<std::string> stop_strings;
  // Stages that run before it, itself in a loop included; default: all.
  std::optional<std::vector<std::string>> reads;
  std::optional<Handoff> handoff;  // how it receives what it reads; default: the chain's
  int64_t max_tokens = 256;
  SamplingOptions sampling;
};

// A BM25 index between stages: what it finds stands for {NAME} in the templates of the stages, and
// of the shared input, that are written behind it.
struct ToolSpec {
  std::string name;
  std::string index;  // folder, resolved against the YAML's
  std::string
      query;  // template: record fields, and names of stages and tools (what they said last)
  std::string document = "{text}\n";  // template of a document found: {id}, {title}, {text}
  int64_t top = 5;                    // documents at most
  std::optional<double> k1, b;        // default: the index's
};

// Which record fields a plain request to a server fills; empty: none.
struct ApiFields {
  std::string prompt;  // the prompt, or what the user says
  std::string system;  // what the system message says
};

enum class Overlong { kRefuse, kCut };

struct ChainSpec {
  std::string file;  // where it was read from, for messages
  std::string name;
  std::string base;  // folder, resolved against the YAML's
  Placement placement = Placement::kFront;
  Handoff handoff = Handoff::kKv;
  std::string shared;  // template of the shared input S; may be empty
  int64_t room = 0;    // positions before S for the inputs that stand first, each its own
  std::vector<StageSpec> stages;
  std::vector<ToolSpec> tools;
  std::vector<FlowPart> flow;  // empty: every stage once, in order
  // A record that does not fit the context: refuse it, or cut the end of `cut_field` to fit.
  Overlong overlong = Overlong::kRefuse;
  std::string cut_field;
  ApiFields api;

  Status Validate() const;
  // The stage or tool of that name; -1: there is none.
  int StageOf(std::string_view name) const;
  int ToolOf(std::string_view name) const;
  // Whether a template names a tool.
  bool UsesTool(const std::string& text) const;
  std::vector<std::string> StageNames() const;
  std::vector<std::string> ToolNames() const;
  // The same hand-off for every stage.
  void SetHandoff(Handoff all);
  // "TOOL=FOLDER": the index of a tool, instead of the file's. kInvalidArgument names the tools.
  Status SetIndex(const std::string& setting);
  // The flow; where it is empty, the one that stands for it.
  std::vector<FlowPart> FlowParts() const;
};

Result<ChainSpec> ParseChainSpec(std::string_view yaml, const std::string& file);
Result<ChainSpec> LoadChainSpec(const std::string& path);

}  // namespace onepass
