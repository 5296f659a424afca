#!/usr/bin/env bash
# The demonstration: the base and the prompts that ship, one prompt trained briefly so that training
# is seen to work, then 200 test questions through every method.
#   tools/demo.sh            needs a release build (make demo makes one)
# Variables: OUT (out/demo), ONEPASS (the release build's program), DEMO_QUESTIONS (200), DEMO_STEPS
# (of training, 60), DEMO_RUNS (of the last measurement, 3).
# Writes OUT/results.json, report.html and samples_<method>.jsonl beside it, and the trained prompt.
# Runs of a method that OUT holds already, of the same questions and prompts, are taken from there.
set -euo pipefail
cd "$(dirname "$0")/.."
onepass=${ONEPASS:-build/release/apps/onepass/onepass}
out=${OUT:-out/demo}
questions=${DEMO_QUESTIONS:-200}
steps=${DEMO_STEPS:-60}
runs=${DEMO_RUNS:-3}
mkdir -p "$out"

echo "== The base"
"$onepass" inspect models/base

echo
echo "== Data: a generated world; no split shares another one's names"
"$onepass" data world --split train --count 2000 --seed 1 --out "$out/train.jsonl"
"$onepass" data world --split validation --count 100 --seed 1 --out "$out/validation.jsonl"
"$onepass" data world --split test --count "$questions" --seed 1 --out "$out/test.jsonl"

echo
echo "== Training: the answering stage learns to read the compressing stage's KV ($steps steps)"
rm -rf "$out/answer-fthss"
"$onepass" train recipes/demo/answer-fthss.yaml data="$out/train.jsonl" \
  validation_data="$out/validation.jsonl" out="$out/answer-fthss" \
  upstream_prompts=models/prompts/world/compress max_steps="$steps" log_every=10 validate_every=20

echo
echo "== Every method on $questions test questions, with the prompts that ship"
"$onepass" eval chains/demo/suite.yaml --data "$out/test.jsonl" --n "$questions" --out "$out"

echo "One prompt a method; another draw of questions would move EM too (standard error at 200 questions: 2 to 4 points)."

echo
echo "== What the hand-off saves where texts are long: a model of 135M random weights, 500 tokens handed over"
"$onepass" bench handoff --tokens 500 --runs "$runs"

echo
echo "The comparison is in $out/report.html and results.json too, each answer in $out/samples_<method>.jsonl. ($SECONDS s)"
