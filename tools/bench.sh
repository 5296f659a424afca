#!/usr/bin/env bash
# Every measurement of `onepass bench`, one after the other, as text here and as JSON lines in
# out/bench/bench.jsonl. Takes some minutes; wants a machine that does nothing else.
#   SHAPE=smollm2-135m RUNS=10 LENGTHS=250,500,1000,3000 tools/bench.sh
set -euo pipefail
cd "$(dirname "$0")/.."
onepass=${ONEPASS:-build/release/apps/onepass/onepass}
shape=${SHAPE:-smollm2-135m}
runs=${RUNS:-10}
lengths=${LENGTHS:-250,500,1000,3000}
mkdir -p out/bench
: > out/bench/bench.jsonl

measure() {
  echo "== onepass bench $*"
  "$onepass" bench "$@" --json >out/bench/last.json
  cat out/bench/last.json >>out/bench/bench.jsonl
  python3 - out/bench/last.json <<'PYTHON'
import json, sys
report = json.load(open(sys.argv[1]))
rows = report.pop("rows", [])
for key, value in report.items():
    print(f"{key}: {value}")
if rows:
    print("\t".join(rows[0]))
for row in rows:
    print("\t".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
PYTHON
}

measure machine
measure prefill --shape "$shape" --tokens 128,512,1024
measure decode --shape "$shape"
measure handoff --shape "$shape" --tokens "$lengths" --runs "$runs"
measure kv-memory --shape "$shape" --tokens "$lengths"
measure train-step --shape "$shape"
