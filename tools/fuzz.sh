#!/usr/bin/env bash
# Builds every fuzz target with clang, ASan and UBSan, and runs each for SECONDS (default 60) from its
# seeds. What it finds stays in build/fuzz/found; put it into fuzz/seeds with the fix.
#   tools/fuzz.sh [SECONDS] [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --parallel "$(nproc)" --target fuzz_targets

run_target() {
  local target=$1 name=${1%_fuzz} found=build/fuzz/found/$1
  mkdir -p "build/fuzz/corpus/$name" "$found"
  echo "fuzz: $target for $seconds s"
  local dictionary=()
  [ ! -e "fuzz/seeds/$name.dict" ] || dictionary=(-dict="fuzz/seeds/$name.dict")
  "build/fuzz/fuzz/$target" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$found/" "${dictionary[@]}" \
    "build/fuzz/corpus/$name" "fuzz/seeds/$name" 2>"build/fuzz/$target.log" || {
    tail -n 40 "build/fuzz/$target.log"
    echo "fuzz: $target found an input: $found"
    return 1
  }
  sed -n 's/^stat::number_of_executed_units: */fuzz: inputs tried: /p' "build/fuzz/$target.log"
}

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for source in fuzz/*_fuzz.cc; do targets+=("$(basename "$source" .cc)"); done
fi
failed=0
for target in "${targets[@]}"; do run_target "$target" || failed=1; done
[ $failed -eq 0 ] && echo "fuzz: no target found anything"
exit $failed
