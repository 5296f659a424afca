#!/usr/bin/env python3
"""Prints the tables of docs/performance.md from what tools/bench.sh measured, as Markdown:

    python3 tools/bench_tables.py out/bench

A table whose measurement is missing or torn is left out, and one line on stderr names the file; the
comparison with llama.cpp, which not every run makes, is not missed. Needs no package.
"""
import contextlib
import io
import json
import pathlib
import sys

NAMES = ("machine", "roofline", "handoff", "handoff-one-token", "decode-deep", "kv-memory",
         "kv-error", "train-inline", "train-front", "serve")
COMPARED = ("compare", "compare-large")
KINDS = [("16 bits", "BF16", ("BF16", "F16")), ("8 bits", "Q8_0", ("Q8_0",)),
         ("4 bits", "Q4_0", ("Q4_0",))]
# tok/s that were aimed at, of the shape smollm2-135m on two cores with AVX2.
GOALS = {("prefill 512", "16 bits"): 700, ("prefill 512", "8 bits"): 900,
         ("prefill 512", "4 bits"): 900, ("prefill 3000", "16 bits"): 500,
         ("prefill 3000", "8 bits"): 500, ("prefill 3000", "4 bits"): 500,
         ("decode", "16 bits"): 100, ("decode", "8 bits"): 170, ("decode", "4 bits"): 280}


def number(value):
    """Three significant digits; whole above 100."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def percent(value):
    return f"{100 * value:.0f}%"


def megabytes(value):
    return number(value / 1e6)


def with_spread(median, low, high):
    return f"{number(median)} ({number(low)} to {number(high)})"


def table(title, heads, rows):
    print(f"\n### {title}\n")
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def machine(report):
    print("### The machine\n")
    print(f"{report['instruction_set']}, {report['threads']} threads. All together: "
          f"f32 {number(report['peak_gflops'])} Gop/s, int8 {number(report['peak_int8_gops'])} "
          f"Gop/s, memory {number(report['memory_gb_per_s'])} GB/s. One thread: f32 "
          f"{number(report['peak_gflops_one_thread'])}, int8 "
          f"{number(report['peak_int8_gops_one_thread'])} Gop/s.")


def of_stem(rows, shape, types, work, tokens):
    """The rows of files named SHAPE-TYPE.gguf."""
    names = {f"{shape}-{kind}" for kind in types}
    return [row for row in rows if row["model"] in names and row["work"] == work
            and (work == "decode" or row["tokens"] == tokens)]


def goals(roofline, compared):
    """Ours are from the comparison where there is one, else from the roofline's points."""
    points = {(row["weights"], row["work"]): row for row in roofline["rows"]}
    sizes = [int(work.split()[1]) for _, work in points if work.startswith("prefill")]
    works = [("prefill", size) for size in dict.fromkeys(sizes)] + [("decode", 1)]
    rows = []
    for work, size in works:
        for name, own, types in KINDS:
            label = f"{work} {size}" if work == "prefill" else "decode"
            point = points[(own, label if work == "prefill" else "decode x 1")]
            theirs = of_stem(compared, roofline["base"], types, work, size)
            ours = [row for row in theirs if row["model"].endswith("-" + own)]
            if theirs and ours:
                best = max(theirs, key=lambda row: row["llama_cpp"]["median"])
                speed = ours[0]["onepass"]
                stored = best["model"].removeprefix(roofline["base"] + "-")
                share = ours[0]["share"]
                cells = [f"{with_spread(**best['llama_cpp'])} {stored}", with_spread(**speed),
                         f"{speed['median'] / best['llama_cpp']['median']:.2f}",
                         number(speed["median"] / share), percent(share)]
            else:
                share = point["peak_share" if work == "prefill" else "bandwidth_share"]
                cells = ["", number(point["tokens_per_s"]), "",
                         number(point["tokens_per_s"] / share), percent(share)]
            goal = GOALS.get((label, name)) if roofline["base"] == "smollm2-135m" else None
            rows.append([f"{label}, {name}", *cells, str(goal or "")])
    table("Beside llama.cpp",
          ["work", "llama.cpp, tok/s", "onepass, tok/s", "ratio", "limit, tok/s",
           "share of the limit", "goal"],
          rows)


def others(compared):
    rows = [[row["model"], f"{row['work']} {row['tokens']}", with_spread(**row["llama_cpp"]),
             with_spread(**row["onepass"]), f"{row['ratio']:.2f}", percent(row["share"]),
             f"`{row['llama_cpp_settings']}`"] for row in compared]
    if rows:
        table("Beside llama.cpp, all files",
              ["file", "work", "llama.cpp, tok/s", "onepass, tok/s", "ratio",
               "share of the limit", "llama.cpp's settings"], rows)


def points(roofline):
    rows = [[row["weights"], row["work"], number(row["tokens_per_s"]),
             with_spread(row["ms"], row["ms_low"], row["ms_high"]), number(row["gops"]),
             number(row["arithmetic_intensity"]), percent(row["peak_share"]),
             percent(row["bandwidth_share"])] for row in roofline["rows"]]
    table("Points of the roofline",
          ["weights", "work", "tok/s", "ms", "Gop/s", "op/B", "of the peak", "of the bandwidth"],
          rows)


def handoffs(report):
    lengths = list(dict.fromkeys(row["length"] for row in report["rows"]))
    cells = {(row["length"], row["handoff"]): row for row in report["rows"]}
    names = list(dict.fromkeys(row["handoff"] for row in report["rows"]))
    rows = []
    for length in lengths:
        row = [str(length)]
        for name in names:
            cell = cells[(length, name)]
            row.append(", ".join(with_spread(cell[key], cell[f"{key}_low"], cell[f"{key}_high"])
                                 for key in ("handoff_ms", "total_ms")))
        first, last = cells[(length, names[0])], cells[(length, names[-1])]
        row.append(f"{first['total_ms'] / last['total_ms']:.1f}")
        rows.append(row)
    table("Hand-off: ms to the first token, ms to the last",
          ["tokens handed over", *names, f"{names[0]} / {names[-1]}"], rows)


def one_token(report, decode):
    row = next(row for row in report["rows"] if row["handoff"] == "kv")
    step = decode["rows"][0]["ms_per_step"]
    print(f"\nOne token of own input behind {row['length']} tokens: first token after "
          f"{number(row['handoff_ms'])} ms, a decode step at that depth {number(step)} ms: "
          f"{row['handoff_ms'] / step:.2f} steps.")


def kv_memory(report):
    peaks = {}
    for row in report["rows"]:
        peaks.setdefault((str(row["length"]), row["handoff"]), []).append(
            (row["models"], megabytes(row["peak_bytes"])))
    rows = [[*key, *(peak for _, peak in sorted(models))] for key, models in peaks.items()]
    table("KV memory, MB", ["tokens of all outputs", "hand-off", "1 model", "2 models", "3 models"],
          rows)


def kv_error(report):
    rows = [[f"`{row['kv']}`", str(row["bytes_per_token"]), f"{row['perplexity']:.2f}",
             f"{row['change_percent']:+.2f}%", f"{row['mean_kl_nats']:.2g}",
             f"{row['top1_agreement_percent']:.1f}%"] for row in report["rows"]]
    table("KV in fewer bits",
          ["KV", "bytes a token", "perplexity", "change from f32", "mean KL, nats",
           "same best token"], rows)
    text = report["text"] if report["text"] == "generated world" else f"`{report['text']}`"
    print(f"\nBase `{report['base']}`, {report['scored_tokens']} tokens of {text} in windows of "
          f"{report['window_tokens']}.")


def train_steps(reports):
    rows = [[f"{report['placement']}, constants {row['constants']}",
             with_spread(row["seconds"], row["seconds_low"], row["seconds_high"]),
             megabytes(row["tape_bytes"]), megabytes(row["resident_bytes"]),
             str(row["taped_tokens"]), str(row["constant_tokens"])]
            for report in reports for row in report["rows"]]
    table("Training step",
          ["prompts", "s", "tape, MB", "resident beyond the base, MB", "taped rows",
           "constant rows"], rows)


def complain(fault):
    print(f"bench_tables: {fault}", file=sys.stderr)


def read(folder):
    """What is there and whole: reports by name, a list of rows or an object each."""
    reports = {}
    for name in NAMES + COMPARED:
        path = folder / f"{name}.json"
        kind = list if name in COMPARED else dict
        try:
            report = json.loads(path.read_text())
        except FileNotFoundError:
            if name not in COMPARED:
                complain(f"{path}: missing, its table is left out")
        except (OSError, ValueError, RecursionError) as fault:
            complain(f"{path}: want JSON, found {str(fault).splitlines()[0]}")
        else:
            if isinstance(report, kind):
                reports[name] = report
            else:
                complain(f"{path}: want a JSON {'array' if kind is list else 'object'}, found none")
    return reports


def serving(report):
    """A row a rate, goodput and latency of each way."""
    cells = {(row["rate"], row["way"]): row for row in report["rows"]}
    ways = list(dict.fromkeys(row["way"] for row in report["rows"]))
    rows = []
    for rate in dict.fromkeys(row["rate"] for row in report["rows"]):
        row = [f"{rate:g}"]
        for way in ways:
            cell = cells[(rate, way)]
            row.append(with_spread(cell["goodput"], cell["goodput_low"], cell["goodput_high"]))
            row.append(", ".join(number(cell[f"latency_{name}_ms"]) for name in ("p50", "p99")))
        rows.append(row)
    table("Serving",
          ["asked a second", *(f"{way}: {what}" for way in ways
                               for what in ("answers in time a second", "p50, p99 ms"))], rows)
    print(f"\nIn time is {number(report['deadline_ms'])} ms.")


class Tables:
    def __init__(self, folder):
        self.folder = folder
        self.reports = read(folder)

    def make(self, print_table, *names, also=()):
        """print_table(reports of `names`), all of it or nothing. also: what it reads besides."""
        if not all(name in self.reports for name in names):
            return
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                print_table(*(self.reports[name] for name in names))
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration,
                ZeroDivisionError) as fault:
            files = ", ".join(str(self.folder / f"{name}.json") for name in (*names, *also))
            complain(f"{files}: want what `onepass bench` and compare_llamacpp.py write, found "
                     f"another ({type(fault).__name__}: {fault})")
            return
        print(output.getvalue(), end="")


def main():
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
        complain("usage: bench_tables.py FOLDER")
        sys.exit(2)
    tables = Tables(pathlib.Path(sys.argv[1]))
    given = [name for name in COMPARED if name in tables.reports]
    compared = [row for name in given for row in tables.reports[name]]
    tables.make(machine, "machine")
    tables.make(lambda report: goals(report, compared), "roofline", also=given)
    tables.make(lambda: others(compared), also=given)
    tables.make(points, "roofline")
    tables.make(handoffs, "handoff")
    tables.make(one_token, "handoff-one-token", "decode-deep")
    tables.make(kv_memory, "kv-memory")
    tables.make(kv_error, "kv-error")
    steps = [name for name in ("train-inline", "train-front") if name in tables.reports]
    if steps:
        tables.make(lambda *reports: train_steps(reports), *steps)
    tables.make(serving, "serve")


if __name__ == "__main__":
    main()
