#!/usr/bin/env python3
"""Runs llama-bench and `onepass bench` in turn on the same GGUF files and prints the ratios.

Prefill of a text of random tokens with one row of logits (llama-bench -p N -n 0), and decode of one
sequence behind a context (-p 0 -n N -d CONTEXT), both with as many threads. For each file and work
llama-bench first tries every combination of what it offers - attention with and without `-fa`,
weights repacked for the machine and not, above 512 tokens a larger `-ub` - and goes into the
comparison with the fastest of those that it can run. Then both programs run once a round, the other
first in every second round. A round's figure is the median of its own repetitions; the table has
the median, lowest and highest of the rounds. The file of `--json` is replaced as a whole after
every row, so that a fault leaves the rows before it.

Called by compare_llamacpp.sh; needs no package.
"""
import argparse
import itertools
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONG = 1000  # tokens from which on a text is read once a round


class Fault(Exception):
    """What the user has to mend, in one line."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"compare_llamacpp: {message}", file=sys.stderr)
        sys.exit(2)


def count(text):
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"want 1 to 1000000, found {text!r}")


def counts(text):
    return [count(part) for part in text.split(",")]


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        lines = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
        raise Fault(f"{pathlib.Path(str(command[0])).name}: {lines[-1]}")
    return done.stdout


class LlamaBench:
    def __init__(self, path, threads):
        self.path = path
        self.threads = threads
        done = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
        text = done.stdout + done.stderr
        if "--n-depth" not in text:
            raise Fault(f"{path}: want a llama-bench with --n-depth (-d), found none in its --help")
        # Alternatives of each flag; of equally fast ones the first wins.
        self.flags = {"-fa": ["0", "1"]}
        if "--repack" in text:
            self.flags["--repack"] = ["1", "0"]
        if "--run-time-repack" in text:
            self.flags["-rtr"] = ["1", "0"]
        self.can_skip_warmup = "--no-warmup" in text

    def speeds(self, model, work, settings, repeats, warm_up=True):
        kind, size, context = work
        command = [self.path, "-m", model, "-t", self.threads, "-r", repeats, "-o", "json"]
        if kind == "prefill":
            command += ["-p", size, "-n", 0, "-b", max(size, 512)]
        else:
            command += ["-p", 0, "-n", size, "-d", context]
        for flag, value in settings.items():
            command += [flag, value]
        if not warm_up and self.can_skip_warmup:
            command.append("--no-warmup")
        output = run(command)
        try:
            speeds = [float(speed) for speed in json.loads(output)[-1]["samples_ts"]]
        except (ValueError, KeyError, IndexError, TypeError):
            speeds = []
        if not speeds or not all(0 < speed < math.inf for speed in speeds):
            raise Fault(f"{self.path}: want JSON with samples_ts above 0, found something else")
        return speeds

    def best_settings(self, model, work):
        """Tries all combinations: some flags are fast, or run at all, only with others."""
        kind, size, _ = work
        flags = dict(self.flags)
        if kind == "prefill" and size > 512:
            flags["-ub"] = ["512", "2048"]
        repeats = 1 if size > LONG else 2
        best, best_speed, fault = None, 0, None
        for values in itertools.product(*flags.values()):
            settings = dict(zip(flags, values))
            try:
                speed = max(self.speeds(model, work, settings, repeats, warm_up=False))
            except Fault as found:  # these settings, with this file or machine
                fault = fault or found
                continue
            if speed > best_speed:
                best, best_speed = settings, speed
        if best is None:
            raise fault
        return best


def our_speed(onepass, model, work, options, repeats):
    """tokens/s, and the share of the machine's peak that our program reports beside it."""
    kind, size, context = work
    command = [onepass, "bench", kind, "--model", model, "--threads", options.threads,
               "--repeats", repeats, "--json", "--tokens", size]
    if options.instruction_set:
        command += ["--instruction-set", options.instruction_set]
    if kind == "decode":
        command += ["--context", context, "--batch", 1]
    output = run(command)
    share = "peak_share" if kind == "prefill" else "bandwidth_share"
    try:
        row = json.loads(output)["rows"][0]
        return float(row["tokens_per_s"]), float(row[share])
    except (ValueError, KeyError, IndexError, TypeError):
        raise Fault(f"{onepass}: want JSON with tokens_per_s and {share}, found something else") \
            from None


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def compare(llama, onepass, model, work, settings, options):
    repeats = 1 if work[1] > LONG else options.repeats
    theirs, ours, shares = [], [], []
    for turn in range(options.rounds):
        def run_theirs():
            theirs.append(statistics.median(llama.speeds(model, work, settings, repeats)))

        def run_ours():
            speed, share = our_speed(onepass, model, work, options, repeats)
            ours.append(speed)
            shares.append(share)

        for step in (run_theirs, run_ours) if turn % 2 == 0 else (run_ours, run_theirs):
            step()
    kind, size, context = work
    return {"model": pathlib.Path(model).stem, "work": kind, "tokens": size, "context": context,
            "threads": options.threads, "rounds": options.rounds,
            "onepass_instruction_set": options.instruction_set or "best",
            "llama_cpp_settings": " ".join(f"{k} {v}" for k, v in settings.items()),
            "llama_cpp": spread(theirs), "onepass": spread(ours),
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "share": statistics.median(shares)}


def work_name(row):
    if row["work"] == "prefill":
        return f"prefill {row['tokens']}"
    return f"decode {row['tokens']} at {row['context']}"


def write_rows(path, rows):
    """The file is the old one or the new one at any moment, never a part."""
    part = f"{path}.part"
    pathlib.Path(part).write_text(json.dumps(rows, indent=1) + "\n")
    os.replace(part, path)


def print_table(options, rows):
    limit = f", onepass with {options.instruction_set}" if options.instruction_set else ""
    print(f"{options.threads} threads, {options.rounds} rounds{limit}; tok/s: median (lowest to highest)")
    heads = ["model", "work", "llama.cpp tok/s", "onepass tok/s", "ratio", "share", "its settings"]
    lines = [heads]
    for row in rows:
        speeds = [f"{s['median']:.1f} ({s['low']:.1f} to {s['high']:.1f})"
                  for s in (row["llama_cpp"], row["onepass"])]
        lines.append([row["model"], work_name(row), *speeds, f"{row['ratio']:.2f}",
                      f"{100 * row['share']:.0f}%", row["llama_cpp_settings"]])
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def parse(arguments):
    parser = Parser(prog="compare_llamacpp.sh", description=__doc__.splitlines()[0])
    parser.add_argument("llama_bench", metavar="PATH-TO-llama-bench")
    parser.add_argument("models", metavar="MODEL.gguf", nargs="+")
    parser.add_argument("--prefill", type=counts, default=[512, 3000], help="lengths of texts")
    parser.add_argument("--context", type=count, default=512, help="tokens before the decode")
    parser.add_argument("--tokens", type=count, default=32, help="tokens to decode")
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--repeats", type=count, default=3, help="of either program in a round")
    parser.add_argument("--threads", type=count, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--instruction-set", metavar="NAME",
                        help="of onepass, to compare with a llama.cpp that was built for it")
    parser.add_argument("--json", metavar="FILE", help="the rows as JSON too, after each row")
    options = parser.parse_args(arguments)
    onepass = os.environ.get("ONEPASS") or str(ROOT / "build/release/apps/onepass/onepass")
    for path in (options.llama_bench, onepass):
        if not (os.path.isfile(path) and os.access(path, os.X_OK)):
            parser.error(f"want a program, found none ({path})")
    for model in options.models:
        if not os.path.isfile(model):
            parser.error(f"want a GGUF file, found none ({model})")
        with open(model, "rb") as file:
            if file.read(4) != b"GGUF":
                parser.error(f"want a GGUF file, found another ({model})")
    if options.json:
        options.json = os.path.realpath(options.json)
        if not os.path.isdir(os.path.dirname(options.json)):
            parser.error(f"--json: want a folder to write in, found none ({options.json})")
        if os.path.exists(options.json) and not os.path.isfile(options.json):
            parser.error(f"--json: want a file, found something else ({options.json})")
    return options, onepass


def main():
    options, onepass = parse(sys.argv[1:])
    rows = []
    try:
        llama = LlamaBench(os.path.abspath(options.llama_bench), options.threads)
        works = [("prefill", size, 0) for size in options.prefill]
        works.append(("decode", options.tokens, options.context))
        for model in options.models:
            for work in works:
                settings = llama.best_settings(model, work)
                rows.append(compare(llama, onepass, model, work, settings, options))
                if options.json:
                    write_rows(options.json, rows)
                print(f"{rows[-1]['model']}, {work_name(rows[-1])}: {rows[-1]['ratio']:.2f}",
                      file=sys.stderr)
    except (Fault, OSError) as fault:
        if rows:
            print_table(options, rows)
            sys.stdout.flush()
        print(f"compare_llamacpp: {fault}", file=sys.stderr)
        sys.exit(1)
    print_table(options, rows)


if __name__ == "__main__":
    main()
