#!/usr/bin/env bash
# Runs a test of the server, with a client environment of its own that it makes where it is missing.
#   tests/e2e/serve/run.sh TEST.py PROGRAM VENV
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
test=$1 program=$2 venv=$3
"$here/../../venv.sh" "$venv" "$here/requirements.txt"
ONEPASS=$program exec "$venv/bin/python" "$here/$test"
