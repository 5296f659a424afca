"""Samples of the synthetic world as token batches, for the base's pretraining and scoring."""
import dataclasses
import json
import pathlib
import random
import shlex
import subprocess
import tempfile

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

BOS, EOS, PAD = 0, 1, 2
SPECIAL_TOKENS = ["<bos>", "<eos>", "<pad>"]
LENGTHS = [32, 48, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 448, 512]


@dataclasses.dataclass
class Sample:
    """Token ids with a loss weight each: the weight of predicting that token. spans: (begin, end, hops) of every output."""
    ids: list[int]
    weights: list[float]
    spans: list[tuple[int, int, int]]
    format: str


@dataclasses.dataclass
class Batch:
    ids: Tensor      # [B, T]
    weights: Tensor  # [B, T], of predicting ids[:, t]; 0 on padding


def generate(command: str, task: str, split: str, count: int, seed: int, level: int, only_format: str = "") -> list[dict]:
    """Runs `onepass data world` and reads its lines. No file is kept. only_format: empty for the mix."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "samples.jsonl"
        flags = {"--task": task, "--split": split, "--count": count, "--seed": seed, "--level": level, "--out": path}
        if only_format:
            flags["--format"] = only_format
        arguments = shlex.split(command) + [str(x) for pair in flags.items() for x in pair]
        subprocess.run(arguments, check=True)
        return [json.loads(line) for line in path.read_text().splitlines()]


def train_tokenizer(rows: list[dict], vocab: int) -> Tokenizer:
    """Byte-level BPE on generated text. Ids 0, 1, 2 are <bos>, <eos>, <pad>."""
    texts = ["".join(part[0] for part in row["parts"]).replace("<bos>", "") for row in rows]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=SPECIAL_TOKENS, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, rows: list[dict], text_weight: float) -> list[Sample]:
    """<bos>, the parts, <eos>. Outputs weigh 1 (the last one's <eos> too), everything else text_weight."""
    flat = [part[0] for row in rows for part in row["parts"]]
    encoded = iter(tokenizer.encode_batch_fast(flat, add_special_tokens=False))
    samples = []
    for row in rows:
        sample = Sample([BOS], [0.0], [], row["format"])
        for _, is_output, hops in row["parts"]:
            ids = next(encoded).ids
            if is_output:
                sample.spans.append((len(sample.ids), len(sample.ids) + len(ids), hops))
            sample.ids += ids
            sample.weights += [1.0 if is_output else text_weight] * len(ids)
        sample.ids.append(EOS)
        sample.weights.append(1.0 if sample.spans else text_weight)
        if sample.spans:
            sample.spans[-1] = (sample.spans[-1][0], len(sample.ids), sample.spans[-1][2])
        samples.append(sample)
    return samples


def repeated_rows(vocab: int, count: int, rng: random.Random) -> list[Sample]:
    """Random tokens, then the same again, with loss on the second time: nothing else teaches copying as fast."""
    rows = []
    for _ in range(count):
        ids = [rng.randrange(len(SPECIAL_TOKENS), vocab) for _ in range(rng.randint(8, 31))]
        weights = [0.0] * (len(ids) + 2) + [1.0] * (len(ids) - 1)
        rows.append(Sample([BOS] + ids + ids, weights, [], "repeated"))
    return rows


def record_rows(vocab: int, count: int, rng: random.Random) -> list[Sample]:
    """Records "before, subject, between, object" of random tokens, then in another order again with loss on the objects.

    All of a row share a few wordings, so that only the subject, two tokens some way back, tells which object follows:
    copying by the last token alone fails, and the subject must be bound to its object. In half of the rows the second
    time has a wording of its own, as a question has.
    """
    def words(least: int, most: int) -> list[int]:
        return [rng.randrange(len(SPECIAL_TOKENS), vocab) for _ in range(rng.randint(least, most))]

    rows = []
    for _ in range(count):
        subjects = [words(2, 2) for _ in range(rng.randint(2, 6))]
        asked = rng.random() < 0.5
        wordings = [(words(0, 3), words(1, 3)) for _ in range(1 if asked else rng.randint(1, 3))]
        end = words(1, 1)
        records = [(subject, wording, words(1, 2)) for subject in subjects for wording in wordings if rng.random() < 0.8]
        question = (words(1, 3), words(1, 3))
        sample = Sample([BOS], [0.0], [], "records")
        for second in (False, True):
            rng.shuffle(records)
            for subject, wording, value in records:
                before, between = question if second and asked else wording
                context = before + subject + between
                sample.ids += context + value + end
                sample.weights += [0.0] * len(context) + [1.0 if second else 0.0] * (len(value) + 1)
        if records:
            rows.append(sample)
    return rows


def pad_batch(samples: list[Sample], length: int) -> Batch:
    ids = torch.full((len(samples), length), PAD)
    weights = torch.zeros(len(samples), length)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        weights[row, : len(sample.ids)] = torch.tensor(sample.weights)
    return Batch(ids, weights)


def join_some(samples: list[Sample], share: float, rng: random.Random) -> list[Sample]:
    """Joins some neighbours into one row, so that the base meets far positions and foreign text."""
    joined: list[Sample] = []
    for sample in samples:
        if joined and len(joined[-1].ids) + len(sample.ids) <= LENGTHS[-1] and rng.random() < share:
            before = joined.pop()
            sample = Sample(before.ids + sample.ids, before.weights + sample.weights, [], "joined")
        joined.append(sample)
    return joined


class Batcher:
    """Groups samples of like length into batches of about `tokens` tokens. What fills no batch waits for more samples."""

    def __init__(self, tokens: int):
        self.sizes = {length: max(1, tokens // length) for length in LENGTHS}
        self.waiting: dict[int, list[Sample]] = {length: [] for length in LENGTHS}

    def add(self, samples: list[Sample]) -> None:
        """Overlong samples are left out."""
        for sample in samples:
            fitting = [length for length in LENGTHS if len(sample.ids) <= length]
            if fitting:
                self.waiting[fitting[0]].append(sample)

    def counts(self) -> list[int]:
        """Batches that are full, by length."""
        return [len(self.waiting[length]) // size for length, size in self.sizes.items()]

    def take(self, counts: list[int]) -> list[Batch]:
        """So many of each length, in this order."""
        batches = []
        for (length, size), count in zip(self.sizes.items(), counts):
            waiting = self.waiting[length]
            batches += [pad_batch(waiting[i * size : (i + 1) * size], length) for i in range(count)]
            del waiting[: count * size]
        return batches
