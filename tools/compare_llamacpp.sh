#!/usr/bin/env bash
# Speed beside llama.cpp: the same GGUF files, the same number of threads, in turn.
#   tools/compare_llamacpp.sh PATH-TO-llama-bench MODEL.gguf [MODEL.gguf ...]
#       [--prefill 512,3000] [--context 512] [--tokens 32] [--rounds 3] [--threads N]
#       [--instruction-set NAME] [--json FILE]
# Variables: ONEPASS (the release build's program). What is measured and how settings are chosen is
# told by compare_llamacpp.py; wants a machine that does nothing else.
exec python3 "$(dirname "$0")/compare_llamacpp.py" "$@"
