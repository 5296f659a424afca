#!/usr/bin/env bash
# Makes a virtual environment of Python with these packages, where it is not there already.
#   tests/venv.sh VENV REQUIREMENTS
set -euo pipefail
venv=$1 wanted=$2
mkdir -p "$(dirname "$venv")"
# Two tests may come at once.
exec 9>"$venv.lock"
flock 9
cmp -s "$wanted" "$venv/requirements.txt" && exit 0
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
cp "$wanted" "$venv/requirements.txt"
