"""Scores a base on held-out samples of its own pretraining formats: greedy exact match of whole outputs, per format.

    python tools/eval_base.py --generator "build/release/apps/onepass/onepass data world" --base models/base

An output counts when every token of it, its end included, is the most likely one after the tokens before it: that is
when greedy decoding writes exactly this output. In formats of several turns each output is one case.
"""
import argparse
import collections
import pathlib

import torch
from tokenizers import Tokenizer

import world_data
from base_model import Base, load_base

Scores = dict[tuple[str, int], list[bool]]


def held_out(generator: str, tokenizer: Tokenizer, count: int, level: int, split: str = "validation", seed: int = 7
             ) -> list[world_data.Sample]:
    rows = world_data.generate(generator, "own-formats", split, count, seed, level)
    return world_data.encode(tokenizer, rows, 0.0)


@torch.no_grad()
def score(model: Base, samples: list[world_data.Sample], bf16: bool = False) -> Scores:
    """Hits by (format, hops)."""
    scores: Scores = collections.defaultdict(list)
    samples = sorted(samples, key=lambda sample: len(sample.ids))
    for begin in range(0, len(samples), 16):
        group = samples[begin : begin + 16]
        ids = world_data.pad_batch(group, len(group[-1].ids)).ids
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            best = model.logits(model.hidden(model.embed(ids))).argmax(-1)
        for row, sample in enumerate(group):
            for first, last, hops in sample.spans:
                hit = bool((best[row, first - 1 : last - 1] == ids[row, first:last]).all())
                scores[(sample.format, hops)].append(hit)
    return scores


def mean(hits: list[bool]) -> float:
    return 100.0 * sum(hits) / max(1, len(hits))


def by_format(scores: Scores) -> dict[str, list[bool]]:
    formats: dict[str, list[bool]] = collections.defaultdict(list)
    for (name, _), hits in scores.items():
        formats[name] += hits
    return formats


def summary(scores: Scores) -> str:
    formats = by_format(scores)
    parts = [f"{name} {mean(formats[name]):.0f}" for name in sorted(formats)]
    return f"all {mean([hit for hits in scores.values() for hit in hits]):.1f} | " + ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="build/release/apps/onepass/onepass data world", help="command that writes samples")
    parser.add_argument("--base", type=pathlib.Path, default=pathlib.Path("models/base"))
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"])
    parser.add_argument("--count", type=int, default=2000, help="samples")
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(str(args.base / "tokenizer.json"))
    samples = held_out(args.generator, tokenizer, args.count, args.level, args.split, args.seed)
    scores = score(load_base(args.base), samples)
    print("| format | steps | outputs | exact match |\n|---|---|---|---|")
    for (name, hops), hits in sorted(scores.items()):
        print(f"| {name} | {hops or ''} | {len(hits)} | {mean(hits):.1f} |")
    every = [hit for hits in scores.values() for hit in hits]
    print(f"| all | | {len(every)} | {mean(every):.1f} |")


if __name__ == "__main__":
    main()
