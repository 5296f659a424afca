#!/usr/bin/env bash
# The numbers of docs/results.md: trains every prompt with every seed, compares all methods on
# held-out questions, and writes one report.
#   tools/run_results.sh [TASK ...]     default: all
#     world        compress & QA on the generated world, and figure 4 of the paper
#     inline       the same, each prompt before its stage instead of in front
#     rewrite      query rewriting & QA          memory   memory & reasoning, several rounds
#     active-rag   several retrievals a question
#     babi         compress & QA on bAbI tasks 1 to 3
#     babi-traces  bAbI tasks 1, 2, 3, 7, 8 and 15 in several rounds, one seed
#     squad        SQuAD: the sentence that holds the answer, then the answer; one seed
#     speed        latency of a second stage and KV memory of several models, random weights
#     replay       the authors' HotpotQA and ComQA rows: lengths, losses and hand-offs
# Variables: SEEDS ("1 2 3"), N (test questions of a task of the world, 500), SAMPLES (its training
#   samples, 4000), OUT (out/results),
#   DATA (../shared/data: babi/qa*_train.txt, squad1.1_part.json, hotpotqa_compress_test.json and
#   comqa_dev.json; what is not there is left out),
#   WORKERS (trainings at once, one thread each: the processor's), ONEPASS (the release build's
#   program), TRAIN ("key=value" overrides for every recipe alike, e.g. "max_steps=50" for a trial),
#   EVAL (flags for every comparison, e.g. "--threads 1"), REPORT (a file to copy report.md to; its
#   pictures go to pictures/ beside it).
# What is there already is kept, prompts and what they answered, as long as it is what would be made
# now: the same recipe, chain, settings and prompts before it. Remove OUT to begin anew, as after a
# change of the program. OUT/train has a log a prompt.
# shellcheck disable=SC2086 # TRAIN and EVAL are lists
set -euo pipefail
cd "$(dirname "$0")/.."
onepass=${ONEPASS:-build/release/apps/onepass/onepass}
seeds=${SEEDS:-1 2 3}
n=${N:-500}
samples=${SAMPLES:-4000}
out=${OUT:-out/results}
real=${DATA:-../shared/data}
workers=${WORKERS:-$(nproc)}
data=$out/data
index=$data/world-index
all="memory active-rag rewrite world inline babi babi-traces squad speed replay"

# The prompts of each task, in the order of training: what reads others' outputs comes behind them.
declare -A prompts_of=(
  [world]="compress answer answer-fthss answer-continue prompt-tuning distill"
  [inline]="compress answer answer-fthss"
  [babi]="compress answer answer-fthss prompt-tuning distill"
  [babi-traces]="reason recall fthss prompt-tuning distill"
  [squad]="compress answer answer-fthss prompt-tuning distill"
  [rewrite]="rewrite answer answer-fthss answer-fact answer-fact-fthss prompt-tuning distill"
  [memory]="reason recall fthss prompt-tuning distill"
  [active-rag]="plan answer combine fthss prompt-tuning distill"
  [speed]="" [replay]=""
)
# The folder of its recipes, and the name of its samples, where it is not the task's.
declare -A recipes_of=([world]=demo [inline]=demo)
declare -A samples_of=([inline]=world)

seeds_of() {
  case $1 in
    babi-traces | squad) echo "${seeds%% *}" ;;
    *) echo "$seeds" ;;
  esac
}

# settings TASK SEED PROMPT: how it is trained, and `made_of`: a hash of all of that.
settings() {
  local task=$1 seed=$2 prompt=$3 upstream='' chain setting
  local recipes=${recipes_of[$task]:-$task} records=${samples_of[$task]:-$task}
  prompts=$out/$task/seed$seed
  work=$out/train/$task/seed$seed/$prompt
  recipe=$prompt
  overrides=("data=$data/$records-train.jsonl" "validation_data=$data/$records-validation.jsonl"
    "out=$work" "seed=$seed" "init_seed=$seed" "threads=1")
  case "$task/$prompt" in
    inline/answer-fthss) overrides+=("chain=chains/demo-inline/fthss.yaml") ;;
    inline/*) overrides+=("chain=chains/demo-inline/chain.yaml") ;;
    # Figure 4: the text chain's prompt goes on for 320 samples on handed-over KV.
    world/answer-continue)
      recipe=answer-fthss
      overrides+=("init_prompt=$prompts/answer" "max_steps=40" "learning_rate=0.005") ;;
    # The answer as a whole fact.
    rewrite/answer-fact*)
      recipe=${prompt/-fact/}
      overrides+=("outputs=O_A,fact") ;;
  esac
  case "$task/$prompt" in
    rewrite/answer*) upstream=$prompts/rewrite ;;
    world/answer* | inline/answer* | babi/answer* | squad/answer*) upstream=$prompts/compress ;;
  esac
  [ -z "$upstream" ] || overrides+=("upstream_prompts=$upstream")
  case $task in
    rewrite | active-rag) overrides+=("index=search=$index") ;;
  esac
  recipe=recipes/$recipes/$recipe.yaml
  chain=$(dirname "$recipe")/$(sed -n 's/^chain: *//p' "$recipe")
  for setting in "${overrides[@]}"; do
    case $setting in chain=*) chain=${setting#chain=} ;; esac
  done
  made_of=$({
    echo "${TRAIN:-} ${overrides[*]}"
    cat "$recipe" "$chain" "$data/$records-train.jsonl" "$data/$records-validation.jsonl"
    for setting in "$upstream" "$([ "$prompt" != answer-continue ] || echo "$prompts/answer")"; do
      [ -z "$setting" ] || cat "$setting/adapter_model.safetensors" 2>&1 || true
    done
  } | sha256sum | cut -d ' ' -f 1)
}

# is_there TASK SEED PROMPT: trained, and by what would train it now.
is_there() {
  local prompts work recipe overrides made_of
  settings "$@"
  [ -e "$prompts/$3" ] && [ "$made_of" = "$(cat "$prompts/$3.of" 2>/dev/null)" ]
}

# train TASK SEED PROMPT: one prompt; its best state goes to OUT/TASK/seedSEED/PROMPT.
train() {
  local task=$1 seed=$2 prompt=$3 prompts work recipe overrides made_of begin=$SECONDS
  is_there "$@" && return
  settings "$@"
  mkdir -p "$work" "$prompts"
  # A checkpoint of other settings is not gone on with.
  [ "$made_of" = "$(cat "$work.of" 2>/dev/null)" ] || rm -rf "$work"
  mkdir -p "$work"
  echo "$made_of" >"$work.of"
  if ! "$onepass" train "$recipe" "${overrides[@]}" ${TRAIN:-} >"$work.log" 2>&1; then
    echo "run_results: $task, seed $seed: $prompt: $(tail -n 1 "$work.log")" >&2
    return 1
  fi
  rm -rf "$prompts/$prompt.new" "$prompts/$prompt.of" && cp -r "$work/best" "$prompts/$prompt.new" &&
    rm -rf "${prompts:?}/$prompt" && mv "$prompts/$prompt.new" "$prompts/$prompt" &&
    cp "$work.of" "$prompts/$prompt.of" || return 1
  echo "$task, seed $seed: $prompt trained in $((SECONDS - begin)) s: $(tail -n 1 "$work.log" |
    sed 's/^[^:]*: //')"
}

train_seed() {
  local prompt
  for prompt in ${prompts_of[$1]}; do train "$1" "$2" "$prompt" || return 1; done
}

# All seeds of these tasks, `workers` at a time.
train_all() {
  local task seed running=0 failed=0
  for task in "$@"; do
    for seed in $(seeds_of "$task"); do
      if [ "$running" -ge "$workers" ]; then
        wait -n || failed=1
        running=$((running - 1))
      fi
      [ $failed = 0 ] || break 2
      train_seed "$task" "$seed" &
      running=$((running + 1))
    done
  done
  while [ $running -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
  done
  return $failed
}

# make_samples NAME WORLD_TASK: train, validation and test of a task of the world.
make_samples() {
  "$onepass" data world --task "$2" --split train --count "$samples" --seed 1 --out "$data/$1-train.jsonl"
  "$onepass" data world --task "$2" --split validation --count 200 --seed 1 \
    --out "$data/$1-validation.jsonl"
  "$onepass" data world --task "$2" --split test --count "$n" --seed 2 --out "$data/$1-test.jsonl"
}

# One index of the documents of all splits, whose names differ.
make_index() {
  local split seed
  : >"$data/corpus.new"
  for split in train validation test; do
    seed=1
    [ $split = test ] && seed=2
    "$onepass" data world --task corpus --split $split --seed $seed --out "$data/corpus-$split.jsonl"
    cat "$data/corpus-$split.jsonl" >>"$data/corpus.new"
  done
  # Answers over another build of the same documents are not kept.
  if [ -e "$index" ] && cmp -s "$data/corpus.new" "$data/corpus.jsonl"; then return; fi
  "$onepass" index build --input "$data/corpus.new" --out "$index"
  mv "$data/corpus.new" "$data/corpus.jsonl"
}

# babi_samples NAME TASKS [FLAG ...]: the last 40 sentences of longer stories: no question of tasks 1
# to 3 needs an earlier one. Samples of all tasks in turn.
babi_samples() {
  local name=$1 tasks=$2 split task files
  shift 2
  for split in train validation test; do
    files=()
    for task in $tasks; do
      files+=("$data/$name$task-$split.jsonl")
      "$onepass" data babi --input "$(ls "$real"/babi/qa"${task}"_*_train.txt)" --task "$task" \
        --split "$split" --last-sentences 40 "$@" --out "${files[-1]}"
    done
    paste -d '\n' "${files[@]}" >"$data/$name-$split.jsonl"
  done
}

# Whether what the task is made of is there.
has_source() {
  local needs=() need
  case $1 in
    babi*) needs=("$real/babi") ;;
    squad) needs=("$real/squad1.1_part.json") ;;
    replay) needs=("$real/hotpotqa_compress_test.json" "$real/comqa_dev.json") ;;
  esac
  for need in "${needs[@]}"; do
    [ -e "$need" ] && continue
    echo "run_results: $1 is left out: want $need (DATA=FOLDER), found none" >&2
    return 1
  done
}

prepare() {
  case $1 in
    world | inline) make_samples world compress-qa ;;
    rewrite)
      make_samples rewrite rewrite-qa
      make_index ;;
    memory) make_samples memory memory-reasoning ;;
    active-rag)
      make_samples active-rag active-rag
      make_index ;;
    babi) babi_samples babi "1 2 3" ;;
    babi-traces) babi_samples babi-traces "1 2 3 7 8 15" --traces ;;
    squad)
      local split
      for split in train validation test; do
        "$onepass" data squad --input "$real/squad1.1_part.json" --split $split --out "$data/squad-$split.jsonl"
      done ;;
  esac
}

# compare TASK SUITE OUT [FLAG ...]
compare() {
  local task=$1 suite=$2 to=$3 of flags=()
  of=$(seeds_of "$task")
  shift 3
  case $task in
    rewrite | active-rag) flags=(--index "search=$index") ;;
  esac
  "$onepass" eval "$suite" --seeds "${of// /,}" --prompts "$out/$task/seed{seed}" \
    --out "$out/$to" "${flags[@]}" "$@" ${EVAL:-}
  folders+=("$out/$to")
}

# bench NAME COMMAND ...: OUT/NAME.json, unless this program has measured it on the same files.
bench() {
  local to=$out/$1.json made_of file
  shift
  made_of="$({
    cat "$(command -v "$onepass")" models/base/*
    for file in "$@"; do [ ! -f "$file" ] || cat "$file"; done
  } | sha256sum) $*"
  if [ ! -e "$to" ] || [ "$made_of" != "$(cat "$to.of" 2>/dev/null)" ]; then
    "$onepass" bench "$@" --json >"$to.new"
    mv "$to.new" "$to"
    echo "$made_of" >"$to.of"
  fi
  benches+=(--bench "$to")
}

compare_task() {
  local task=$1 tested=$data/${samples_of[$1]:-$1}-test.jsonl i
  case $task in
    world)
      compare world chains/demo/suite.yaml world --data "$tested"
      compare world chains/demo/figure4.yaml figure4 --data "$tested" ;;
    inline) compare inline chains/demo-inline/suite.yaml inline --data "$tested" ;;
    babi)
      for i in 1 2 3; do
        compare babi chains/babi/suite.yaml "babi-$i" --task "babi-$i" --data "$data/babi$i-test.jsonl"
      done ;;
    squad) compare squad chains/squad/suite.yaml squad --data "$tested" ;;
    rewrite)
      compare rewrite chains/rewrite/suite.yaml rewrite --data "$tested"
      compare rewrite chains/rewrite/suite-facts.yaml rewrite-facts --data "$tested" ;;
    speed)
      bench handoff handoff
      bench kv-memory kv-memory ;;
    # Whole documents need more positions than the base was trained for: its losses on them are of a
    # base that never saw such lengths, its times are those of the lengths.
    replay)
      rm -rf "$out/long-base"
      cp -r models/base "$out/long-base"
      sed -i 's/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 16384/' \
        "$out/long-base/config.json"
      bench hotpotqa replay chains/hotpotqa/fthss.yaml --base "$out/long-base" --outputs O_A,O_B \
        --input "$real/hotpotqa_compress_test.json" --n 100
      bench comqa replay chains/comqa/fthss.yaml --base "$out/long-base" \
        --input "$real/comqa_dev.json" --outputs 'O_{round}A,O_{round}B' ;;
    *) compare "$task" "chains/$task/suite.yaml" "$task" --data "$tested" ;;
  esac
}

# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $all
for task in "$@"; do
  [ -n "${prompts_of[$task]+known}" ] && continue
  echo "usage: tools/run_results.sh [${all// /|} ...]" >&2
  exit 2
done
mkdir -p "$data"
ready=()
left_out=
there=0
logs=()
for task in "$@"; do
  has_source "$task" || {
    left_out+=" $task"
    continue
  }
  prepare "$task"
  ready+=("$task")
  for seed in $(seeds_of "$task"); do
    for prompt in ${prompts_of[$task]}; do
      ! is_there "$task" "$seed" "$prompt" || there=$((there + 1))
      logs+=("$out/train/$task/seed$seed/$prompt.log")
    done
  done
done
[ ${#ready[@]} -gt 0 ] || exit 1
train_all "${ready[@]}"
folders=()
benches=()
for task in "${ready[@]}"; do compare_task "$task"; done
[ -z "$left_out" ] || left_out=" Left out, their data not being there:$left_out."
before=
[ $there = 0 ] || before=", $there prompts being there already"
# The last line of a training's log ends with its time: ", m:ss" or ", h:mm:ss".
trained=$(for log in "${logs[@]}"; do [ ! -e "$log" ] || tail -n 1 "$log"; done | awk -F ', ' '{
  parts = split($NF, time, ":")
  for (i = 1; i <= parts; ++i) seconds += time[i] * 60 ^ (parts - i)
} END { printf "%.0f", seconds / 60 }')
processor=$(lscpu | sed -n 's/^Model name: *//p' | head -n 1)
"$onepass" eval report "${folders[@]}" "${benches[@]}" --out "$out/report" --title "Results" \
  --note "Written by tools/run_results.sh $* (make paper) in $((SECONDS / 60)) minutes on $(nproc) \
cores of: $processor$before. Training them all: $trained minutes of one thread. Seeds: $seeds; of bAbI's traces and \
SQuAD: ${seeds%% *}.$left_out" \
  --note "All methods of a task have one frozen base (models/base) and differ in soft prompts and \
hand-off. A seed sets the order of the training samples. In memory & reasoning, active RAG, rewrite & QA \
and bAbI's traces the own inputs of all stages stand in room kept before the shared input, where the \
paper has them behind what was said: docs/ablations.md has both, what else was tried, and what it shows."
if [ -n "${REPORT:-}" ]; then
  pictures=$(dirname "$REPORT")/pictures
  mkdir -p "$pictures"
  for picture in "$out"/report/report-*.svg; do
    cp "$picture" "$pictures/results-${picture##*/report-}"
  done
  sed 's#](report-\([0-9]*\.svg\))#](pictures/results-\1)#' "$out/report/report.md" >"$REPORT"
fi
