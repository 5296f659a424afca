"""Pretrains the base that ships in models/: a small Llama on the synthetic world's plain formats.

    python tools/pretrain_base.py --generator "build/release/apps/onepass/onepass data world" --out models/base

Everything is seeded. First come random tokens that repeat, whole or record by record, which teach to copy from context
and to bind an object to its subject; then texts that grow with the share of tokens done: level 1, then 2, then 3.
Matrices learn by Muon, the embedding and the norms by Adam; the learning rate warms up, stays, and falls to zero over
the last part.
"""
import argparse
import itertools
import json
import math
import pathlib
import random
import shutil
import tempfile
import time
from typing import Iterator

import torch
import torch.nn.functional as F
import torch.distributed as distributed
from tokenizers import Tokenizer
from torch import Tensor, nn

import eval_base
import world_data
from base_model import Base, init_weights, load_base, make_config, save_base


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz: [N, rows, cols] to nearly orthogonal matrices of the same singular spaces (Jordan et al., Muon)."""
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, then an orthogonalised step; matrices of one shape are handled together, the work shared by the workers."""

    def __init__(self, matrices: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01):
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                shapes.setdefault(p.shape, []).append(p)
            updates = [self._directions(matrices, group["momentum"]) for matrices in shapes.values()]
            flat = torch.cat([u.reshape(-1) for u in updates])
            distributed.all_reduce(flat)
            offset = 0
            for shape, matrices in shapes.items():
                scale = math.sqrt(max(1.0, shape[0] / shape[1]))
                for p in matrices:
                    update = flat[offset : offset + p.numel()].view_as(p)
                    p.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-group["lr"] * scale)
                    offset += p.numel()

    def _directions(self, matrices: list[nn.Parameter], momentum: float) -> Tensor:
        """[N, rows, cols]: this worker's share of the orthogonalised directions; zero for the others' matrices."""
        wanted = []
        for p in matrices:
            buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
            buffer.lerp_(p.grad, 1 - momentum)
            wanted.append(p.grad.lerp(buffer, momentum))
        rank, workers = distributed.get_rank(), distributed.get_world_size()
        directions = torch.zeros(len(matrices), *matrices[0].shape)
        if wanted[rank::workers]:
            directions[rank::workers] = orthogonalize(torch.stack(wanted[rank::workers]))
        return directions


def batch_loss(model: Base, batch: world_data.Batch, bf16: bool) -> tuple[Tensor, list[float]]:
    """Weighted sum of token losses; then that sum, the sum of weights, and loss and number of the output tokens.

    Only positions that count reach the output matrix.
    """
    targets, weights = (F.pad(of_next[:, 1:], (0, 1)).reshape(-1) for of_next in (batch.ids, batch.weights))
    kept = weights.nonzero().squeeze(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        states = model.hidden(model.embed(batch.ids))
        logits = model.logits(states.reshape(-1, states.shape[-1])[kept])
    losses = F.cross_entropy(logits.float(), targets[kept], reduction="none")
    loss = (losses * weights[kept]).sum()
    outputs = losses[weights[kept] == 1.0]
    return loss, [loss.item(), weights.sum().item(), outputs.sum().item(), float(len(outputs))]


def level_at(done: float, args: argparse.Namespace) -> int:
    """0: random tokens that repeat; 1 to 3: levels of the world's texts."""
    return (done >= args.level1_at) + (done >= args.level2_at) + (done >= args.level3_at)


def rate_at(done: float, step: int, args: argparse.Namespace) -> float:
    return min(1.0, (step + 1) / args.warmup) * min(1.0, (1.0 - done) / args.decay_share)


def thin_text(samples: list[world_data.Sample], keep: float, rng: random.Random) -> None:
    """Drops the loss of most plain-text tokens and raises it on the rest: the same expectation, less work."""
    for sample in samples:
        sample.weights = [w if w in (0.0, 1.0) else (w / keep if rng.random() < keep else 0.0) for w in sample.weights]


def stream(tokenizer, args: argparse.Namespace, progress: dict) -> Iterator[world_data.Batch]:
    """Micro-batches of fresh samples, at the level that the progress asks for, without end.

    All workers have batches of one shape at the same time, so that none waits for another at the end of a step.
    """
    batcher = world_data.Batcher(args.micro_tokens)
    for chunk in itertools.count():
        seed = args.seed * 100000 + chunk * args.workers + distributed.get_rank()
        rng = random.Random(seed)
        level = level_at(progress["done"], args)
        count = args.chunk // (4 if level == 0 else 40)
        samples = world_data.repeated_rows(tokenizer.get_vocab_size(), 2 * count, rng)
        samples += world_data.record_rows(tokenizer.get_vocab_size(), count, rng)
        if level > 0:
            rows = world_data.generate(args.generator, "pretrain", "pretrain", args.chunk, seed, level)
            for name in args.more:
                rows += world_data.generate(args.generator, "pretrain", "pretrain", int(args.chunk * args.more_share), seed, level, name)
            encoded = world_data.encode(tokenizer, rows, args.text_weight)
            thin_text(encoded, args.text_keep, rng)
            samples += world_data.join_some(encoded, args.join_share if level == 3 else 0.0, rng)
        rng.shuffle(samples)
        batcher.add(samples)
        counts = torch.tensor(batcher.counts())
        distributed.all_reduce(counts, distributed.ReduceOp.MIN)
        batches = batcher.take(counts.tolist())
        random.Random(chunk).shuffle(batches)
        for batch in batches:
            yield batch
            if level != level_at(progress["done"], args):
                break


def build_tokenizer(args: argparse.Namespace) -> None:
    rows = world_data.generate(args.generator, "pretrain", "pretrain", 40000, args.seed, 3)
    tokenizer = world_data.train_tokenizer(rows, args.vocab)
    tokenizer.save(str(args.out / "tokenizer.json"))
    kinds = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "model_max_length": 1024,
             "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (args.out / "tokenizer_config.json").write_text(json.dumps(kinds, indent=2) + "\n")


def make_optimizers(model: Base, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() == 1 or "embed" in name]
    optimizers = [Muon(matrices, args.muon_lr), torch.optim.Adam(others, args.adam_lr, betas=(0.9, 0.95), eps=1e-10)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def reduce_gradients(parameters: list[nn.Parameter], counts: list[float]) -> list[float]:
    """Sums gradients and counts over the workers; gradients end up divided by the second count, the loss weights."""
    flat = torch.cat([p.grad.reshape(-1) for p in parameters] + [torch.tensor(counts)])
    distributed.all_reduce(flat)
    totals = flat[-len(counts) :].tolist()
    offset = 0
    for p in parameters:
        p.grad.copy_(flat[offset : offset + p.numel()].view_as(p)).div_(totals[1])
        offset += p.numel()
    return totals


def one_step(model: Base, batches: Iterator[world_data.Batch], goal: float, bf16: bool) -> tuple[int, float]:
    """Gradients of about `goal` tokens over all workers. Returns tokens and the mean loss of the output tokens."""
    tokens, counts = 0, [0.0] * 4
    while tokens * distributed.get_world_size() < 0.8 * goal:  # micro-batches are a little smaller than asked
        batch = next(batches)
        loss, more = batch_loss(model, batch, bf16)
        loss.backward()
        counts = [a + b for a, b in zip(counts, more)]
        tokens += batch.ids.numel()
    parameters = list(model.parameters())
    totals = reduce_gradients(parameters, counts + [float(tokens)])
    nn.utils.clip_grad_norm_(parameters, 1.0)
    return int(totals[4]), totals[2] / max(1.0, totals[3])


def train(model: Base, tokenizer, args: argparse.Namespace) -> None:
    optimizers = make_optimizers(model, args)
    progress = {"done": 0.0}
    batches = stream(tokenizer, args, progress)
    first = distributed.get_rank() == 0
    plain = Base(model.cfg)  # the same parameters, never compiled
    plain.load_state_dict(model.state_dict(), assign=True)
    tokens, step, start, next_eval = 0, 0, time.time(), args.eval_every
    shown_loss, shown_tokens, shown_time = 0.0, 0, start
    while tokens < min(args.tokens, args.stop_after):
        goal = args.batch_tokens[min(len(args.batch_tokens) - 1, int(progress["done"] * len(args.batch_tokens)))]
        step_tokens, loss = one_step(model, batches, goal, args.bf16)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate_at(progress["done"], step, args)
            optimizer.step()
            optimizer.zero_grad()
        tokens, step = tokens + step_tokens, step + 1
        shown_tokens, shown_loss = shown_tokens + step_tokens, shown_loss + loss
        progress["done"] = tokens / args.tokens
        if first and step % 50 == 0:
            now = time.time()
            print(f"step {step} tokens {tokens / 1e6:.2f}M level {level_at(progress['done'], args)} output loss {shown_loss / 50:.4f} "
                  f"tok/s {shown_tokens / (now - shown_time):.0f} minutes {(now - start) / 60:.1f}", flush=True)
            shown_loss, shown_tokens, shown_time = 0.0, 0, now
        if tokens >= next_eval:
            next_eval += args.eval_every
            if first:
                save_base(model, args.out)
                level = max(1, level_at(progress["done"], args))
                held_out = eval_base.held_out(args.generator, tokenizer, args.eval_count, level)
                print("  " + eval_base.summary(eval_base.score(plain, held_out, args.bf16)), flush=True)
    if first:
        save_base(model, args.out)


def worker(rank: int, store: str, args: argparse.Namespace) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=args.workers)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(args.out / "tokenizer.json"))
    cfg = make_config(tokenizer.get_vocab_size(), args.width, args.layers, args.hidden,
                      world_data.BOS, world_data.EOS, world_data.PAD)
    model = Base(cfg)
    init_weights(model)
    if args.init_from:
        model.load_state_dict(load_base(args.init_from).state_dict())
    if args.compile:
        for layer in model.model.layers:
            layer.compile(dynamic=True)
    if rank == 0:
        print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    train(model, tokenizer, args)
    distributed.destroy_process_group()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="build/release/apps/onepass/onepass data world", help="command that writes samples")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("models/base"))
    parser.add_argument("--init-from", type=pathlib.Path, help="folder of a base of the same shape to go on from, with its tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each: better than threads on a busy machine")
    parser.add_argument("--tokens", type=float, default=40e6, help="tokens to train on, padding included")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="tokens after which to end early, to go on with other settings")
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=0.003)
    parser.add_argument("--warmup", type=int, default=50, help="steps")
    parser.add_argument("--decay-share", type=float, default=0.5, help="share of the tokens over which the rate falls to 0")
    parser.add_argument("--level1-at", type=float, default=0.04, help="share of the tokens after which texts begin")
    parser.add_argument("--level2-at", type=float, default=0.25)
    parser.add_argument("--level3-at", type=float, default=0.5)
    parser.add_argument("--text-weight", type=float, default=0.1)
    parser.add_argument("--text-keep", type=float, default=0.3, help="share of plain-text tokens whose loss is computed")
    parser.add_argument("--join-share", type=float, default=0.1)
    parser.add_argument("--more", nargs="*", default=[], metavar="FORMAT", help="formats that come more often than in the mix")
    parser.add_argument("--more-share", type=float, default=0.1, help="samples of each of these, as a share of the mix")
    parser.add_argument("--chunk", type=int, default=4096, help="samples generated at a time")
    parser.add_argument("--micro-tokens", type=int, default=2048)
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[4096, 8192, 8192, 16384, 16384])
    parser.add_argument("--eval-every", type=float, default=2e6, help="tokens")
    parser.add_argument("--eval-count", type=int, default=600)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="do without torch.compile")
    parser.add_argument("--f32", dest="bf16", action="store_false", help="train without bf16 autocast")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.init_from:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(args.init_from / name, args.out / name)
    else:
        build_tokenizer(args)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(worker, (f"{folder}/store", args), nprocs=args.workers)


if __name__ == "__main__":
    main()
