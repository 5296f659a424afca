#!/usr/bin/env python3
"""The same work in PyTorch, as transformers does it, beside docs/performance.md's tables:

    python tools/compare_torch.py [--dtype f32|bf16] [--threads N] [--repeats 3]
                                   [--tokens 512,3000] [--json FILE]

A Llama of the shape smollm2-135m with random weights, in F32 or in BF16: prefill with one row of
logits, decode of 32 tokens behind 512, and a training step of 1124 tokens behind 100 vectors that
are trained, while all else is frozen (everything depends on them, so everything is taped). Attention
is torch's own scaled_dot_product_attention. Needs torch and transformers (tools/requirements.txt).
"""
import argparse
import json
import os
import resource
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

PROMPT = 100
TRAIN_TOKENS = 1124


def seconds_of(work, repeats):
    work()
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return {"median": statistics.median(taken), "low": min(taken), "high": max(taken)}


def resident_peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def make_model(dtype):
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
        tie_word_embeddings=True, attn_implementation="sdpa")
    return LlamaForCausalLM(config).to(dtype).eval().requires_grad_(False)


def prefill(model, count):
    ids = torch.randint(49152, (1, count))
    with torch.inference_mode():
        return model(ids, logits_to_keep=1, use_cache=True).past_key_values


def decode(model, context, steps):
    """Seconds a step; each call continues a cache of its own."""
    with torch.inference_mode():
        cache = prefill(model, context)
        token = torch.zeros((1, 1), dtype=torch.long)
        begin = time.perf_counter()
        for _ in range(steps):
            output = model(token, past_key_values=cache, use_cache=True)
            token = output.logits[:, -1:].argmax(-1)
        return (time.perf_counter() - begin) / steps


def train_step(model):
    ids = torch.randint(49152, (1, TRAIN_TOKENS))
    prompt = torch.randn((1, PROMPT, 576), dtype=model.dtype, requires_grad=True)
    rows = torch.cat([prompt, model.get_input_embeddings()(ids)], 1)
    hidden = model.model(inputs_embeds=rows, use_cache=False).last_hidden_state
    # The last 100 tokens are the targets.
    logits = model.lm_head(hidden[:, -101:-1]).float()
    torch.nn.functional.cross_entropy(logits[0], ids[0, -100:]).backward()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", default="512,3000")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []

    def row(dtype, work, spread, unit):
        rows.append({"weights": str(dtype).removeprefix("torch."), "work": work, "unit": unit, **spread})
        print(f"{rows[-1]['weights']:9} {work:14} {spread['median']:9.4g} "
              f"({spread['low']:.4g} to {spread['high']:.4g}) {unit}", flush=True)

    def speed(spread, count):
        return {"median": count / spread["median"], "low": count / spread["high"],
                "high": count / spread["low"]}

    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[options.dtype]
    model = make_model(dtype)
    # First, since only the highest mark of the program's memory is known.
    before = resident_peak_mb()
    row(dtype, "train step", seconds_of(lambda: train_step(model), options.repeats), "s")
    rows[-1]["resident_growth_mb"] = resident_peak_mb() - before
    print(f"{'':9} {'':14} resident memory grew by {rows[-1]['resident_growth_mb']:.0f} MB", flush=True)
    for count in map(int, options.tokens.split(",")):
        row(dtype, f"prefill {count}",
            speed(seconds_of(lambda n=count: prefill(model, n), options.repeats), count), "tok/s")
    steps = [decode(model, 512, 32) for _ in range(options.repeats + 1)][1:]
    row(dtype, "decode", speed({"median": statistics.median(steps), "low": min(steps),
                                "high": max(steps)}, 1), "tok/s")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"torch": torch.__version__, "threads": options.threads, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
