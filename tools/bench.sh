#!/usr/bin/env bash
# Every measurement of docs/performance.md in one go: out/bench/*.json, out/bench/roofline.svg, and
# out/bench/tables.md, the tables ready to paste. Wants a machine that does nothing else.
#   tools/bench.sh [PATH-TO-llama-bench MODELS]      MODELS: a folder of GGUF files; without them no
#                                                    column of llama.cpp
# Variables: SHAPE (smollm2-135m), RUNS (of each hand-off, 10), LENGTHS (of the text handed over,
#   250,500,1000,3000), PREFILL (512,3000), ROUNDS (of the comparison, 3), OUT (out/bench), THREADS
#   (0: all), CONTEXT (before a decode step, 512), RATES (requests a second of serving,
#   10,25,50,100,150) and RATE_SECONDS of each (3), LLAMACPP_URL (of a llama.cpp server with the base
#   that ships, measured beside serving), PARTS (machine roofline compare handoff memory train serve),
#   ONEPASS (the release build's program). Parts that are not run keep their files, so that a long run
#   can be cut in pieces; so does the comparison where MODELS has no file for it, and whatever fails.
#   A trial of seconds:
#     SHAPE=tiny RUNS=2 LENGTHS=16,32 PREFILL=16,64 ROUNDS=1 TOKENS=300 CONTEXT=64 RATES=20 \
#       RATE_SECONDS=1 tools/bench.sh
# Of models above 400 MB only the shortest prefill is compared, in two rounds.
set -euo pipefail
[ $# = 2 ] && set -- "$(realpath -m "$1")" "$(realpath -m "$2")"
cd "$(dirname "$0")/.."
export ONEPASS=${ONEPASS:-build/release/apps/onepass/onepass}
shape=${SHAPE:-smollm2-135m}
runs=${RUNS:-10}
lengths=${LENGTHS:-250,500,1000,3000}
prefill=${PREFILL:-512,3000}
rounds=${ROUNDS:-3}
tokens=${TOKENS:-1024} # of a training sample, without two prompts of 100
threads=${THREADS:-0}
context=${CONTEXT:-512}
out=${OUT:-out/bench}
rates=${RATES:-10,25,50,100,150}
rate_seconds=${RATE_SECONDS:-3}
parts=${PARTS:-machine roofline compare handoff memory train serve}

fail() {
  echo "bench: $1" >&2
  exit 2
}
[ $# = 0 ] || [ $# = 2 ] || fail "usage: tools/bench.sh [PATH-TO-llama-bench MODELS]"
for part in $parts; do
  [[ " machine roofline compare handoff memory train serve " == *" $part "* ]] ||
    fail "PARTS: want machine, roofline, compare, handoff, memory, train or serve, found $part"
done
[ -x "$ONEPASS" ] || fail "want a program, found none ($ONEPASS)"
models=()
if [ $# = 2 ]; then
  [ -x "$1" ] || fail "want a program, found none ($1)"
  for model in "$2"/*.gguf; do
    [ -e "$model" ] || fail "want GGUF files, found none ($2)"
    models+=("$model")
  done
fi
mkdir -p "$out"

# wanted PART: whether it is one of PARTS.
wanted() { [[ " $parts " == *" $1 "* ]]; }

# report FILE ARGUMENTS: `onepass bench ARGUMENTS` goes to FILE.json.
report() {
  local name=$1
  shift
  echo "$(date +%T) onepass bench $*"
  "$ONEPASS" bench "$@" --json >"$out/$name.json.new"
  mv "$out/$name.json.new" "$out/$name.json"
}
measure() { report "$@" --threads "$threads"; }

# compare FILE PREFILL ROUNDS REPEATS MODEL...: nothing without a model. If it fails, FILE.json
# stays as it was.
compare() {
  local name=$1 sizes=$2 turns=$3 repeats=$4 flags=()
  shift 4
  [ $# -gt 0 ] || return 0
  rm -f "$out/$name.json.new"
  [ "$threads" = 0 ] || flags=(--threads "$threads")
  echo "$(date +%T) compare with llama.cpp: $*"
  tools/compare_llamacpp.sh "$llama_bench" "$@" --prefill "$sizes" --rounds "$turns" \
    --repeats "$repeats" --json "$out/$name.json.new" "${flags[@]}" || {
    [ ! -e "$out/$name.json.new" ] || echo "bench: the rows so far: $out/$name.json.new" >&2
    exit 1
  }
  mv "$out/$name.json.new" "$out/$name.json"
}

longest=${lengths##*,}
input_b=$((tokens * 400 / 1024))
if wanted machine; then
  measure machine machine
fi
if wanted roofline; then
  measure roofline roofline --shape "$shape" --tokens "$prefill" --context "$context" --out "$out/roofline.svg"
fi
if wanted compare; then
  llama_bench=${1:-}
  small=() large=()
  for model in "${models[@]}"; do
    size=$(stat -Lc %s "$model")
    if [ "$size" -le 400000000 ]; then small+=("$model"); else large+=("$model"); fi
  done
  compare compare "$prefill" "$rounds" 3 "${small[@]}"
  compare compare-large "${prefill%%,*}" $((rounds < 2 ? rounds : 2)) 1 "${large[@]}"
fi
if wanted handoff; then
  measure handoff handoff --shape "$shape" --tokens "$lengths" --runs "$runs"
  # One token of own input, beside a decode step behind as much KV: prompt, shared input and text.
  measure handoff-one-token handoff --shape "$shape" --tokens "$longest" --input 1 \
    --runs "$runs"
  measure decode-deep decode --shape "$shape" --context $((longest + 132)) --batch 1 --tokens 16
fi
if wanted memory; then
  measure kv-memory kv-memory --shape "$shape" --tokens "$lengths"
  measure kv-error kv-error --model models/base
fi
if wanted train; then
  # 1224 rows with both prompts. Inline, the second stands behind 700 of them.
  measure train-inline train-step --shape "$shape" --placement inline --tokens "$tokens" \
    --input-b "$input_b"
  measure train-front train-step --shape "$shape" --placement front --tokens "$tokens"
fi
if wanted serve; then
  # The demo's chain over questions of the generated world, on a port that is free.
  chain=chains/demo/fthss.yaml
  "$ONEPASS" data world --task compress-qa --split test --count 200 --out "$out/questions.jsonl" >/dev/null
  "$ONEPASS" serve --chain "demo=$chain" --port 0 --threads "$threads" >"$out/serve.out" 2>"$out/serve.log" &
  server=$!
  trap 'kill "$server" 2>/dev/null || true' EXIT
  for _ in $(seq 300); do
    url=$(sed -n 's/^onepass: serving on //p' "$out/serve.out")
    [ -z "$url" ] || break
    kill -0 "$server" 2>/dev/null || fail "the server ended: $(tail -1 "$out/serve.log")"
    sleep 0.1
  done
  peer=()
  [ -z "${LLAMACPP_URL:-}" ] || peer=(--llamacpp "$LLAMACPP_URL" --chain-file "$chain")
  report serve serve --url "$url" --chain demo --input "$out/questions.jsonl" --rates "$rates" \
    --seconds "$rate_seconds" --runs 3 "${peer[@]}"
  kill "$server"
  wait "$server" || fail "the server ended with an error: $(tail -1 "$out/serve.log")"
fi
python3 tools/bench_tables.py "$out" >"$out/tables.md.new"
mv "$out/tables.md.new" "$out/tables.md"
cat "$out/tables.md"
echo "$(date +%T) done: $out/tables.md, $out/roofline.svg"
