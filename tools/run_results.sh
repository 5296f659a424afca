#!/usr/bin/env bash
# The numbers of docs/results.md: trains every prompt with three seeds and compares all methods on
# held-out questions.
#   tools/run_results.sh [world|inline|babi ...]     default: all; inline: the world, each prompt
#                                                    before its stage instead of in front
# Variables: SEEDS ("1 2 3"), N (test questions of the world, 500), OUT (out/results),
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
mkdir -p "$data"

# train TASK SEED PROMPT: one prompt, by the recipe of that name; its best state goes to
# OUT/TASK/seedSEED/PROMPT. The world's recipes are the demo's.
train() {
  local task=$1 seed=$2 prompt=$3 recipes=demo samples=world
  local prompts=$out/$task/seed$seed work=$out/train/$task/seed$seed/$prompt
  [ -e "$prompts/$prompt" ] && return
  [ "$task" = babi ] && recipes=babi samples=babi
  local overrides=("data=$data/$samples-train.jsonl" "validation_data=$data/$samples-validation.jsonl"
    "out=$work" "seed=$seed" "init_seed=$seed")
  case "$task/$prompt" in
    inline/answer-fthss) overrides+=("chain=chains/demo-inline/fthss.yaml") ;;
    inline/*) overrides+=("chain=chains/demo-inline/chain.yaml") ;;
  esac
  case "$prompt" in
    answer | answer-fthss) overrides+=("upstream_prompts=$prompts/compress") ;;
  esac
  "$onepass" train "recipes/$recipes/$prompt.yaml" "${overrides[@]}" ${TRAIN:-}
  mkdir -p "$prompts"
  cp -r "$work/best" "$prompts/$prompt.new"
  mv "$prompts/$prompt.new" "$prompts/$prompt"
}

# Stage A first: the others read what it writes.
train_seed() {
  local prompts="compress answer answer-fthss prompt-tuning distill"
  [ "$1" = inline ] && prompts="compress answer answer-fthss"
  for prompt in $prompts; do
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

world_data() {
  "$onepass" data world --split train --count 4000 --seed 1 --out "$data/world-train.jsonl"
  "$onepass" data world --split validation --count 200 --seed 1 --out "$data/world-validation.jsonl"
  "$onepass" data world --split test --count "$n" --seed 2 --out "$data/world-test.jsonl"
}

# compare_on_world TASK SUITE
compare_on_world() {
  world_data
  train_all "$1"
  "$onepass" eval "$2" --data "$data/world-test.jsonl" --n "$n" \
    --seeds "${seeds// /,}" --prompts "$out/$1/seed{seed}" --out "$out/$1" ${EVAL:-}
}

world() { compare_on_world world chains/demo/suite.yaml; }

inline() { compare_on_world inline chains/demo-inline/suite.yaml; }

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

[ $# -gt 0 ] || set -- world inline babi
for what in "$@"; do
  case "$what" in
    world | inline | babi) "$what" ;;
    *) echo "usage: tools/run_results.sh [world|inline|babi ...]" >&2; exit 2 ;;
  esac
done
