#!/usr/bin/env bash
# The test of the web page: serves the demo's chain on loopback and runs page_test.py against it.
#   tests/browser/run.sh ONEPASS      the program to test
# Installs Debian's chromium where it is missing (tools/setup.sh browser), and Playwright into
# build/venv-browser. Fails where either cannot be had. Screenshots: build/page*.png.
set -euo pipefail
onepass=$(realpath "$1")
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
servers=()

stop() {
  local pid
  for pid in "${servers[@]}"; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap stop EXIT

fail() {
  echo "browser test: $1" >&2
  exit 1
}

# serve NAME FLAGS: sets $address to where a server listens.
serve() {
  local name=$1
  shift
  "$onepass" serve --chain demo=chains/demo/fthss.yaml --chain rounds=tests/browser/rounds.yaml \
    --chain long=tests/browser/long.yaml --port 0 --threads 1 --log-file "$folder/$name.log" "$@" \
    >"$folder/$name.out" 2>"$folder/$name.err" &
  local pid=$! _
  servers+=("$pid")
  for _ in $(seq 300); do
    address=$(sed -n 's/^onepass: serving on //p' "$folder/$name.out")
    [ -z "$address" ] || return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  fail "the server did not start: $(cat "$folder/$name.err")"
}

tools/setup.sh browser || fail "chromium could not be installed (tools/setup.sh browser)"
venv=build/venv-browser
tests/venv.sh "$venv" tests/browser/requirements.txt ||
  fail "Playwright could not be installed from PyPI"

serve open
open=$address
echo "a-key-for-this-test" >"$folder/keys"
serve keyed --api-key-file "$folder/keys"
"$venv/bin/python" tests/browser/page_test.py --open "$open" --keyed "$address" \
  --key "a-key-for-this-test" --screenshots build
