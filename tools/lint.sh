#!/usr/bin/env bash
# Format, dependency rule, clang-tidy. Looks at tracked and new files, never at build folders.
#   tools/lint.sh          reports and fails
#   tools/lint.sh --fix    formats in place, then reports the rest
#   tools/lint.sh --fast   without clang-tidy
set -euo pipefail
cd "$(dirname "$0")/.."
fix=0 tidy=1
for argument in "$@"; do
  case "$argument" in
    --fix) fix=1 ;;
    --fast) tidy=0 ;;
    *) echo "usage: tools/lint.sh [--fix] [--fast]" >&2; exit 2 ;;
  esac
done

sources() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [ -e "$f" ] && echo "$f"; done; }
failed=0

mapfile -t formatted < <(sources '*.cc' '*.h')
complaints=$(mktemp)
trap 'rm -f "$complaints"' EXIT
if [ $fix -eq 1 ]; then
  clang-format -i "${formatted[@]}"
elif ! clang-format --dry-run -Werror "${formatted[@]}" 2>"$complaints"; then
  grep -E 'error:' "$complaints" | cut -d: -f1 | sort | uniq -c |
    sed 's/^ *\([0-9]*\) /lint: format: \1 places in /' >&2
  echo "lint: 'make format' mends these" >&2
  failed=1
fi

python3 tools/check_layers.py || failed=1

if [ $tidy -eq 1 ]; then
  # Its own build folder gives it the compile commands; nothing is compiled there, but one header
  # is generated.
  cmake -S . -B build/lint -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=clang++ \
    -DONEPASS_BENCH=OFF -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >/dev/null
  cmake --build build/lint --target src/train/events.pb.h >/dev/null
  mapfile -t tidied < <(sources 'src/*.cc' 'apps/*.cc' | grep -v '_test\.cc$')
  log=build/lint/tidy.log
  printf '%s\n' "${tidied[@]}" |
    xargs -P "$(nproc)" -n 2 clang-tidy -p build/lint --quiet 2>/dev/null >"$log" || failed=1
  grep -E '(warning|error):' "$log" | sort -u >&2 || true
  echo "lint: clang-tidy looked at ${#tidied[@]} files"
fi

[ $failed -eq 0 ] && echo "lint: clean"
exit $failed
