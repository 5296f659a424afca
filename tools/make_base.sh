#!/usr/bin/env bash
# Makes a base as the one that ships was made (models/README.md): ten runs of pretrain_base.py, each
# on the formats of its time. Some two and a half hours on 2 cores with nothing beside.
#   tools/make_base.sh OUT           a folder for the base; the runs and generators lie in OUT-work
# Needs the git history, the packages of `make setup` and tools/requirements.txt. Runs that are there
# already are not made again. Variables: PYTHON (python3), SHARE (of each run's tokens, 1; a trial:
# 0.002).
set -euo pipefail
if [ $# -ne 1 ]; then
  echo "usage: tools/make_base.sh OUT" >&2
  exit 2
fi
out=$(realpath -m "$1")
work=$out-work
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
share=${SHARE:-1}
mkdir -p "$work"

# generator COMMIT: the program of that commit, built once; its path on the last line.
generator() {
  local tree=$work/$1
  if [ ! -x "$tree/build/release/apps/onepass/onepass" ]; then
    rm -rf "$tree"
    git worktree prune
    git worktree add --detach "$tree" "$1" >&2
    (cd "$tree" && cmake --preset release && cmake --build --preset release --target onepass) >&2
  fi
  echo "$tree/build/release/apps/onepass/onepass"
}

# run NAME COMMIT MILLIONS STOP_MILLIONS FLAGS...: a run whose learning rate is set for MILLIONS of
# tokens and that ends at STOP_MILLIONS.
run() {
  local name=$1 commit=$2 tokens=$3 stop=$4 program
  shift 4
  [ -e "$name/model.safetensors" ] && return
  program=$(generator "$commit" | tail -n 1)
  "$python" tools/pretrain_base.py --out "$name" --generator "$program data world" --warmup 20 \
    --micro-tokens 4096 --tokens "$("$python" -c "print($tokens * $share * 1e6)")" \
    --stop-after "$("$python" -c "print($stop * $share * 1e6)")" "$@"
}

# The commits of the formats that teach reasoning in steps, each the first of its state.
with_steps=eaa00b5
without_comparing=9b28d12
in_order=ad2db48

one_worker=(--workers 1 --no-compile)
all_levels=(--level1-at 0 --level2-at 0 --level3-at 0 --decay-share 1)
run "$work/1" dfd0dd8 30 25 --seed 1 --decay-share 0.95 --level1-at 0.06 --level2-at 0.2 \
  --level3-at 0.4 --batch-tokens 8192 8192 16384
# No silent two-step questions over whole texts, more single answers and stories.
run "$work/2" 41acaa2 34 28 --init-from "$work/1" --seed 3 --muon-lr 0.01 --adam-lr 0.0015 \
  --batch-tokens 8192 8192 16384 "${all_levels[@]}"
# Questions of single answers stand behind their text.
run "$work/3" 99961e1 13 13 --init-from "$work/2" --seed 4 --muon-lr 0.005 --adam-lr 0.0008 \
  --batch-tokens 16384 "${all_levels[@]}"
# Shorter stories and lists of facts, a label before every output.
run "$work/4" 348aed5 4 4 --init-from "$work/3" --seed 5 --muon-lr 0.005 --adam-lr 0.0008 \
  --batch-tokens 16384 --more answer-facts steps move-turns --more-share 0.12 "${all_levels[@]}"
# Reasoning in steps: the next fact, recalling, concluding, combining; then more of what was learnt
# least; then nearer to the mix again.
run "$work/5" "$with_steps" 8 4 --init-from "$work/4" --seed 6 --muon-lr 0.008 --adam-lr 0.0012 \
  --batch-tokens 16384 "${one_worker[@]}" "${all_levels[@]}"
run "$work/6" "$with_steps" 6.5 6.5 --init-from "$work/5" --seed 7 --muon-lr 0.008 --adam-lr 0.0012 \
  --batch-tokens 16384 --more next next-turns conclude combine fill --more-share 0.1 \
  "${one_worker[@]}" "${all_levels[@]}"
run "$work/7" "$with_steps" 4.5 4.5 --init-from "$work/6" --seed 8 --muon-lr 0.006 --adam-lr 0.0009 \
  --batch-tokens 16384 --more answer-facts facts-turns next combine --more-share 0.06 \
  "${one_worker[@]}" "${all_levels[@]}"
# No comparing, combining of up to four facts, a space before a question that begins with a name.
weak=(next next-turns conclude combine fill steps answer-facts)
run "$work/8" "$without_comparing" 10.5 4 --init-from "$work/7" --seed 9 --muon-lr 0.012 \
  --adam-lr 0.0018 --batch-tokens 8192 8192 16384 --more "${weak[@]}" --more-share 0.13 \
  "${one_worker[@]}" "${all_levels[@]}"
# Known facts stand in their order.
run "$work/9" "$in_order" 3.8 3.8 --init-from "$work/8" --seed 10 --muon-lr 0.008 --adam-lr 0.0012 \
  --batch-tokens 8192 8192 16384 --more "${weak[@]}" --more-share 0.12 \
  "${one_worker[@]}" "${all_levels[@]}"
# Nearer to the mix again.
run "$out" "$in_order" 3.2 3.2 --init-from "$work/9" --seed 11 --muon-lr 0.006 --adam-lr 0.0009 \
  --batch-tokens 8192 8192 16384 --more next answer-facts --more-share 0.05 \
  "${one_worker[@]}" "${all_levels[@]}"
