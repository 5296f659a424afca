#!/usr/bin/env bash
# Runs a test of the server, with a client environment of its own that it makes where it is missing.
#   tests/serve/run.sh TEST.py PROGRAM VENV
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
test=$1 program=$2 venv=$3
wanted=$here/requirements.txt
# Two tests may come at once.
exec 9>"$venv.lock"
flock 9
if ! cmp -s "$wanted" "$venv/requirements.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
  cp "$wanted" "$venv/requirements.txt"
fi
exec 9>&-
ONEPASS=$program exec "$venv/bin/python" "$here/$test"
