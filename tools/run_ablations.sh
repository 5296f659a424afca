#!/usr/bin/env bash
# The tables of docs/ablations.md: FTHSS with one thing changed at a time, on validation questions.
#   tools/run_ablations.sh [memory|compress|rewrite ...]     default: all
# `tools/run_results.sh memory world inline rewrite` makes the data and the prompts that some rows start from.
# Variables: SEED (1), STEPS (600: of memory's rows; the others have the recipe's), RESULTS
#   (out/results), OUT (out/ablations), ONEPASS, WORKERS (trainings at once, one thread each).
#   Prompts that are there are not trained again.
set -euo pipefail
cd "$(dirname "$0")/.."
onepass=${ONEPASS:-build/release/apps/onepass/onepass}
seed=${SEED:-1}
steps=${STEPS:-600}
results=$(realpath -m "${RESULTS:-out/results}")
out=$(realpath -m "${OUT:-out/ablations}")
workers=${WORKERS:-$(nproc)}
data=$results/data
chains=$out/chains
mkdir -p "$chains" "$out/prompts"

# variant NAME FROM SED-EXPRESSION ...: a chain like FROM, changed.
variant() {
  local name=$1 from=$2 args=()
  shift 2
  for expression in "$@"; do args+=(-e "$expression"); done
  sed -E -e "s#\.\./\.\./(models|out)/#$PWD/\1/#" -e 's/^# onepass run.*//' "${args[@]}" \
    "$from" >"$chains/$name.yaml"
}

# row TASK NAME CHAIN RECIPE OVERRIDE ...: trains in the background.
rows_memory=()
rows_compress=()
# shellcheck disable=SC2034 # read by their names
rows_rewrite=() rows_facts=()
running=0
failed=0
row() {
  local task=$1 name=$2 chain=$3 recipe=$4
  shift 4
  declare -n rows=rows_$task
  rows+=("$name|$chain")
  [ -e "$out/prompts/$task/$name" ] && return
  if [ "$running" -ge "$workers" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  (
    work=$out/train/$task/$name
    mkdir -p "$work" "$out/prompts/$task"
    "$onepass" train "$recipe" "chain=$chain" "out=$work" "seed=$seed" "init_seed=$seed" threads=1 \
      "$@" >"$work.log" 2>&1 || {
      echo "run_ablations: $task, $name: $(tail -n 1 "$work.log")" >&2
      exit 1
    }
    rm -rf "$work.new"
    cp -r "$work/best" "$work.new"
    mv "$work.new" "$out/prompts/$task/$name"
    echo "$task, $name: $(tail -n 1 "$work.log" | sed 's/^[^:]*: //')"
  ) &
  running=$((running + 1))
}

finish() {
  while [ $running -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
  done
  [ $failed = 0 ] || exit 1
}

memory() {
  local fthss=chains/memory/fthss.yaml recipe=recipes/memory/fthss.yaml of
  of=("data=$data/memory-train.jsonl" "validation_data=$data/memory-validation.jsonl"
    "max_steps=$steps")
  local behind=('/room:/d' '/input_first:/d' 's/input: "Documents:(.*)\\n"$/input: "\\nDocuments:\1"/')
  local bos='s/start: ".*"/start: "<bos>"/'
  local added=('s/start: "\\nNext:"/added_tokens: ["<next>", "<\/next>"]\n    start: "<next>"/'
    's/start: "\\nFact:"/added_tokens: ["<fact>", "<\/fact>"]\n    start: "<fact>"/'
    '/<next>/,/stop_tokens/s/<eos>/<\/next>/' '/<fact>/,/stop_tokens/s/<eos>/<\/fact>/')
  local ends=('s/start: "\\nNext:"/added_tokens: ["<\/next>"]\n    start: "\\nNext:"/'
    's/start: "\\nFact:"/added_tokens: ["<\/fact>"]\n    start: "\\nFact:"/'
    '/Next:/,/stop_tokens/s/<eos>/<\/next>/' '/Fact:/,/stop_tokens/s/<eos>/<\/fact>/')
  variant memory $fthss
  variant memory-behind $fthss "${behind[@]}"
  variant memory-inline $fthss "${behind[@]}" 's/placement: front/placement: inline/'
  variant memory-bos $fthss "$bos"
  variant memory-bos-behind $fthss "$bos" "${behind[@]}"
  variant memory-added $fthss "${added[@]}"
  variant memory-end-added $fthss "${ends[@]}"
  variant memory-room-320 $fthss 's/room: 192/room: 320/'
  variant memory-room-512 $fthss 's/room: 192/room: 512/'
  row memory as-it-is "$chains/memory.yaml" $recipe "${of[@]}"
  row memory input-behind "$chains/memory-behind.yaml" $recipe "${of[@]}"
  row memory inline-input-behind "$chains/memory-inline.yaml" $recipe "${of[@]}"
  row memory begin-with-bos "$chains/memory-bos.yaml" $recipe "${of[@]}"
  row memory begin-with-bos-input-behind "$chains/memory-bos-behind.yaml" $recipe "${of[@]}"
  row memory added-tokens "$chains/memory-added.yaml" $recipe "${of[@]}"
  row memory end-with-added-tokens "$chains/memory-end-added.yaml" $recipe "${of[@]}"
  row memory room-320 "$chains/memory-room-320.yaml" $recipe "${of[@]}"
  row memory room-512 "$chains/memory-room-512.yaml" $recipe "${of[@]}"
  row memory length-16 "$chains/memory.yaml" $recipe "${of[@]}" prompt_length=16
  row memory length-128 "$chains/memory.yaml" $recipe "${of[@]}" prompt_length=128
  row memory init-vocabulary "$chains/memory.yaml" $recipe "${of[@]}" init=vocabulary
  row memory init-random "$chains/memory.yaml" $recipe "${of[@]}" init=random
  row memory from-the-chains-prompts "$chains/memory.yaml" $recipe "${of[@]}" \
    "init_prompt=$results/memory/seed$seed/reason,$results/memory/seed$seed/recall"
  row memory half-the-rate "$chains/memory.yaml" $recipe "${of[@]}" learning_rate=0.01
  row memory twice-the-rate "$chains/memory.yaml" $recipe "${of[@]}" learning_rate=0.04
  finish
  {
    echo "task: memory & reasoning, FTHSS, $steps steps"
    echo "data: $data/memory-validation.jsonl"
    echo "prompts: $out/prompts/memory"
    echo "gold: answer"
    echo "aliases: answers"
    echo "reference: as-it-is"
    echo "metric: accuracy"
    echo "methods:"
    for of in "${rows_memory[@]}"; do
      echo "  - {method: ${of%|*}, chain: ${of#*|}, answer: reason, after: \"[The answer is]\","
      echo "     prompts: {reason: ${of%|*}/reason, recall: ${of%|*}/recall}}"
    done
  } >"$out/memory.yaml"
  "$onepass" eval "$out/memory.yaml" --out "$out/memory"
}

compress() {
  local fthss=chains/demo/fthss.yaml recipe=recipes/demo/answer-fthss.yaml of
  local compress=$results/world/seed$seed/compress inline=$results/inline/seed$seed/compress
  of=("data=$data/world-train.jsonl" "validation_data=$data/world-validation.jsonl")
  variant compress $fthss
  variant compress-bos $fthss 's/start: "\\nAnswer:"/start: "<bos>"/'
  variant compress-inline chains/demo-inline/fthss.yaml
  row compress as-it-is "$chains/compress.yaml" $recipe "${of[@]}" "upstream_prompts=$compress"
  row compress own-outputs-upstream "$chains/compress.yaml" $recipe "${of[@]}" \
    "upstream_prompts=$compress" upstream_outputs=generated
  row compress inline "$chains/compress-inline.yaml" $recipe "${of[@]}" "upstream_prompts=$inline"
  row compress begin-with-bos "$chains/compress-bos.yaml" $recipe "${of[@]}" \
    "upstream_prompts=$compress"
  row compress init-random "$chains/compress.yaml" $recipe "${of[@]}" \
    "upstream_prompts=$compress" init=random
  finish
  {
    echo "task: compress & QA, FTHSS"
    echo "data: $data/world-validation.jsonl"
    echo "prompts: $out/prompts/compress"
    echo "gold: O_B"
    echo "aliases: answers"
    echo "reference: as-it-is"
    echo "methods:"
    for of in "${rows_compress[@]}"; do
      local first=$compress
      [ "${of%|*}" = inline ] && first=$inline
      echo "  - {method: ${of%|*}, chain: ${of#*|},"
      echo "     prompts: {compress: $first, answer: ${of%|*}}}"
    done
  } >"$out/compress.yaml"
  "$onepass" eval "$out/compress.yaml" --out "$out/compress"
}

rewrite() {
  local fthss=chains/rewrite/fthss.yaml chain=chains/rewrite/chain.yaml of what gold
  local recipe=recipes/rewrite/answer-fthss.yaml text=recipes/rewrite/answer.yaml
  local prompts=$results/rewrite/seed$seed
  of=("data=$data/rewrite-train.jsonl" "validation_data=$data/rewrite-validation.jsonl"
    "upstream_prompts=$prompts/rewrite" "index=search=$data/world-index")
  local behind=('/room:/d' '/input_first:/d' 's/input: "Documents:/input: "\\nDocuments:/')
  variant rewrite $fthss
  variant rewrite-behind $fthss "${behind[@]}"
  variant rewrite-chain $chain
  variant rewrite-chain-behind $chain "${behind[@]}"
  row rewrite as-it-is "$chains/rewrite.yaml" $recipe "${of[@]}"
  row rewrite 400-steps "$chains/rewrite.yaml" $recipe "${of[@]}" max_steps=400
  row rewrite 3600-steps "$chains/rewrite.yaml" $recipe "${of[@]}" max_steps=3600
  row rewrite from-the-chains-prompt "$chains/rewrite.yaml" $recipe "${of[@]}" \
    "init_prompt=$prompts/answer"
  row rewrite half-the-rate "$chains/rewrite.yaml" $recipe "${of[@]}" learning_rate=0.01
  row rewrite input-behind "$chains/rewrite-behind.yaml" $recipe "${of[@]}"
  row rewrite chain "$chains/rewrite-chain.yaml" $text "${of[@]}"
  row rewrite chain-input-behind "$chains/rewrite-chain-behind.yaml" $text "${of[@]}"
  row facts as-it-is "$chains/rewrite.yaml" $recipe "${of[@]}" outputs=O_A,fact
  row facts input-behind "$chains/rewrite-behind.yaml" $recipe "${of[@]}" outputs=O_A,fact
  row facts chain "$chains/rewrite-chain.yaml" $text "${of[@]}" outputs=O_A,fact
  row facts chain-input-behind "$chains/rewrite-chain-behind.yaml" $text "${of[@]}" \
    outputs=O_A,fact
  finish
  for what in rewrite facts; do
    # shellcheck disable=SC2178 # a name
    declare -n rows=rows_$what
    gold=fact
    [ $what = facts ] || gold=O_B
    {
      echo "task: rewrite & QA, $gold"
      echo "data: $data/rewrite-validation.jsonl"
      echo "prompts: $out/prompts/$what"
      echo "gold: $gold"
      echo "reference: as-it-is"
      echo "methods:"
      for of in "${rows[@]}"; do
        echo "  - {method: ${of%|*}, chain: ${of#*|},"
        echo "     prompts: {rewrite: $prompts/rewrite, answer: ${of%|*}}}"
      done
    } >"$out/$what.yaml"
    "$onepass" eval "$out/$what.yaml" --index "search=$data/world-index" --out "$out/$what"
  done
}

[ $# -gt 0 ] || set -- memory compress rewrite
for what in "$@"; do
  case "$what" in
    memory | compress | rewrite) ;;
    *)
      echo "usage: tools/run_ablations.sh [memory|compress|rewrite ...]" >&2
      exit 2 ;;
  esac
done
for what in "$@"; do "$what"; done
