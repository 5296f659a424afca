#!/usr/bin/env bash
# The numbers of docs/results.md: trains every prompt with every seed and compares all methods on
# held-out questions.
#   tools/run_results.sh [TASK ...]     default: all, in this order
#     world       compress & QA on the generated world, and figure 4 of the paper
#     rewrite     query rewriting & QA          memory   memory & reasoning, several rounds
#     active-rag  several retrievals a question
#     inline      compress & QA, each prompt before its stage instead of in front
#     babi        compress & QA on bAbI tasks 1 to 3
#     report      OUT/report: one page of all that is there
# Variables: SEEDS ("1 2 3"), N (test questions of a task of the world, 500), OUT (out/results),
#   BABI (../shared/data/babi: the files qa1_*_train.txt to qa3_*_train.txt), ONEPASS (the release
#   build's program), TRAIN ("key=value" overrides for every recipe alike, e.g. "max_steps=50" for a
#   trial), EVAL (flags for every comparison, e.g. "--threads 1"), PARALLEL=1 (all seeds train at
#   once; the prompts are the same).
# Prompts that are there already are not trained again; remove OUT to begin anew.
# shellcheck disable=SC2086 # TRAIN and EVAL are lists
set -euo pipefail
cd "$(dirname "$0")/.."
onepass=${ONEPASS:-build/release/apps/onepass/onepass}
seeds=${SEEDS:-1 2 3}
n=${N:-500}
out=${OUT:-out/results}
parallel=${PARALLEL:-0}
babi=${BABI:-../shared/data/babi}
data=$out/data
index=$data/world-index
mkdir -p "$data"

# The prompts of each task, in the order of training: what reads others' outputs comes behind them.
declare -A prompts_of=(
  [world]="compress answer answer-fthss answer-continue prompt-tuning distill"
  [inline]="compress answer answer-fthss"
  [babi]="compress answer answer-fthss prompt-tuning distill"
  [rewrite]="rewrite answer answer-fthss prompt-tuning distill"
  [memory]="reason recall fthss prompt-tuning distill"
  [active-rag]="plan answer combine fthss prompt-tuning distill"
)
# The folder of its recipes, and the name of its samples, where it is not the task's.
declare -A recipes_of=([world]=demo [inline]=demo)
declare -A samples_of=([inline]=world)

# train TASK SEED PROMPT: one prompt, by the recipe of that name; its best state goes to
# OUT/TASK/seedSEED/PROMPT.
train() {
  local task=$1 seed=$2 prompt=$3
  local recipes=${recipes_of[$task]:-$task} samples=${samples_of[$task]:-$task}
  local prompts=$out/$task/seed$seed work=$out/train/$task/seed$seed/$prompt recipe=$prompt
  [ -e "$prompts/$prompt" ] && return
  local overrides=("data=$data/$samples-train.jsonl" "validation_data=$data/$samples-validation.jsonl"
    "out=$work" "seed=$seed" "init_seed=$seed")
  case "$task/$prompt" in
    inline/answer-fthss) overrides+=("chain=chains/demo-inline/fthss.yaml") ;;
    inline/*) overrides+=("chain=chains/demo-inline/chain.yaml") ;;
    # Figure 4: the text chain's prompt goes on for 320 samples on handed-over KV.
    world/answer-continue)
      recipe=answer-fthss
      overrides+=("init_prompt=$prompts/answer" "max_steps=40" "learning_rate=0.005") ;;
  esac
  case "$task/$prompt" in
    rewrite/answer*) overrides+=("upstream_prompts=$prompts/rewrite" "index=search=$index") ;;
    rewrite/prompt-tuning | rewrite/distill | active-rag/*) overrides+=("index=search=$index") ;;
    world/answer* | inline/answer* | babi/answer*)
      overrides+=("upstream_prompts=$prompts/compress") ;;
  esac
  "$onepass" train "recipes/$recipes/$recipe.yaml" "${overrides[@]}" ${TRAIN:-}
  mkdir -p "$prompts"
  rm -rf "$prompts/$prompt.new"
  cp -r "$work/best" "$prompts/$prompt.new"
  mv "$prompts/$prompt.new" "$prompts/$prompt"
}

train_seed() {
  for prompt in ${prompts_of[$1]}; do
    echo "== $1, seed $2: $prompt"
    train "$1" "$2" "$prompt"
  done
}

train_all() {
  local pids=()
  for seed in $seeds; do
    if [ "$parallel" = 1 ]; then
      train_seed "$1" "$seed" &
      pids+=($!)
    else
      train_seed "$1" "$seed"
    fi
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
}

# samples NAME WORLD_TASK: train, validation and test of a task of the world.
samples() {
  "$onepass" data world --task "$2" --split train --count 4000 --seed 1 --out "$data/$1-train.jsonl"
  "$onepass" data world --task "$2" --split validation --count 200 --seed 1 \
    --out "$data/$1-validation.jsonl"
  "$onepass" data world --task "$2" --split test --count "$n" --seed 2 --out "$data/$1-test.jsonl"
}

# One index of the documents of all splits, whose names differ.
make_index() {
  local split seed
  : >"$data/corpus.jsonl"
  for split in train validation test; do
    seed=1
    [ $split = test ] && seed=2
    "$onepass" data world --task corpus --split $split --seed $seed --out "$data/corpus-$split.jsonl"
    cat "$data/corpus-$split.jsonl" >>"$data/corpus.jsonl"
  done
  "$onepass" index build --input "$data/corpus.jsonl" --out "$index"
}

# compare TASK SUITE [OUT]
compare() {
  train_all "$1"
  "$onepass" eval "$2" --data "$data/${samples_of[$1]:-$1}-test.jsonl" --n "$n" \
    --seeds "${seeds// /,}" --prompts "$out/$1/seed{seed}" --index "search=$index" \
    --out "$out/${3:-$1}" ${EVAL:-}
}

world() {
  samples world compress-qa
  compare world chains/demo/suite.yaml
  compare world chains/demo/figure4.yaml figure4
}
inline() {
  samples world compress-qa
  compare inline chains/demo-inline/suite.yaml
}
rewrite() {
  samples rewrite rewrite-qa
  make_index
  compare rewrite chains/rewrite/suite.yaml
}
memory() {
  samples memory memory-reasoning
  compare memory chains/memory/suite.yaml
}
active-rag() {
  samples active-rag active-rag
  make_index
  compare active-rag chains/active-rag/suite.yaml
}

# bAbI tasks 1 to 3: one prompt a stage for all three, tested on each. Of longer stories the last 40
# sentences are kept: no question of these files needs an earlier one.
babi() {
  if [ ! -d "$babi" ]; then
    echo "run_results: want bAbI's files (set BABI=FOLDER) in $babi, found no such folder" >&2
    exit 1
  fi
  for split in train validation test; do
    : >"$data/babi-$split.jsonl"
    for task in 1 2 3; do
      "$onepass" data babi --input "$(ls "$babi"/qa${task}_*_train.txt)" --task "$task" \
        --split "$split" --last-sentences 40 --out "$data/babi$task-$split.jsonl"
      cat "$data/babi$task-$split.jsonl" >>"$data/babi-$split.jsonl"
    done
  done
  train_all babi
  for task in 1 2 3; do
    "$onepass" eval chains/babi/suite.yaml --task "babi-$task" --data "$data/babi$task-test.jsonl" \
      --seeds "${seeds// /,}" --prompts "$out/babi/seed{seed}" --out "$out/babi-$task" ${EVAL:-}
  done
}

report() {
  local folders=() folder
  for folder in world figure4 rewrite memory active-rag inline babi-1 babi-2 babi-3; do
    [ -e "$out/$folder/results.json" ] && folders+=("$out/$folder")
  done
  "$onepass" eval report "${folders[@]}" --out "$out/report" --title "Chains over one KV cache"
}

[ $# -gt 0 ] || set -- world rewrite memory active-rag inline babi report
for what in "$@"; do
  case "$what" in
    world | rewrite | memory | active-rag | inline | babi | report) "$what" ;;
    *)
      echo "usage: tools/run_results.sh" \
        "[world|rewrite|memory|active-rag|inline|babi|report ...]" >&2
      exit 2
      ;;
  esac
done
