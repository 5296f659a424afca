#!/usr/bin/env python3
"""Prints the tables of docs/performance.md from what tools/bench.sh measured, as Markdown:

    python3 tools/bench_tables.py out/bench

A table whose measurement is missing is left out. Needs no package.
"""
import json
import pathlib
import sys

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
                cells = [f"{with_spread(**best['llama_cpp'])} {stored}", with_spread(**speed),
                         f"{speed['median'] / best['llama_cpp']['median']:.2f}",
                         percent(ours[0]["share"])]
            else:
                share = point["peak_share" if work == "prefill" else "bandwidth_share"]
                cells = ["", number(point["tokens_per_s"]), "", percent(share)]
            goal = GOALS.get((label, name)) if roofline["base"] == "smollm2-135m" else None
            rows.append([f"{label}, {name}", *cells, str(goal or "")])
    table("Beside llama.cpp",
          ["work", "llama.cpp, tok/s", "onepass, tok/s", "ratio", "share of the limit", "goal"],
          rows)


def others(compared, shape):
    rows = [[row["model"], f"{row['work']} {row['tokens']}", with_spread(**row["llama_cpp"]),
             with_spread(**row["onepass"]), f"{row['ratio']:.2f}", percent(row["share"]),
             f"`{row['llama_cpp_settings']}`"] for row in compared]
    if rows:
        table(f"All files, `{shape}` and larger",
              ["file", "work", "llama.cpp, tok/s", "onepass, tok/s", "ratio",
               "share of the limit", "llama.cpp's settings"], rows)


def points(roofline):
    rows = [[row["weights"], row["work"], number(row["tokens_per_s"]),
             with_spread(row["ms"], row["ms_low"], row["ms_high"]), number(row["gops"]),
             number(row["ops_per_byte"]), percent(row["peak_share"]),
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
            row.append(f"{number(cell['handoff_ms'])}, {number(cell['total_ms'])}")
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
    rows = [[str(row["length"]), row["handoff"],
             *(megabytes(row[f"bytes_{n}_model{'' if n == 1 else 's'}"]) for n in (1, 2, 3))]
            for row in report["rows"]]
    table("KV memory, MB", ["tokens handed over", "hand-off", "1 model", "2 models", "3 models"],
          rows)


def train_steps(reports):
    rows = [[f"{report['placement']}, constants {row['constants']}", number(row["seconds"]),
             megabytes(row["tape_bytes"]), megabytes(row["resident_bytes"]),
             str(row["taped_tokens"]), str(row["constant_tokens"])]
            for report in reports for row in report["rows"]]
    table("Training step",
          ["prompts", "s", "tape, MB", "resident beyond the base, MB", "taped rows", "constant rows"],
          rows)


def main():
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
        print("bench_tables: usage: bench_tables.py FOLDER", file=sys.stderr)
        sys.exit(2)
    reports = {path.stem: json.loads(path.read_text())
               for path in pathlib.Path(sys.argv[1]).glob("*.json")}
    compared = reports.get("compare", []) + reports.get("compare-large", [])
    if "machine" in reports:
        machine(reports["machine"])
    if "roofline" in reports:
        goals(reports["roofline"], compared)
        others(compared, reports["roofline"]["base"])
        points(reports["roofline"])
    if "handoff" in reports:
        handoffs(reports["handoff"])
    if "handoff-one-token" in reports and "decode-deep" in reports:
        one_token(reports["handoff-one-token"], reports["decode-deep"])
    if "kv-memory" in reports:
        kv_memory(reports["kv-memory"])
    steps = [reports[name] for name in ("train-inline", "train-front") if name in reports]
    if steps:
        train_steps(steps)


if __name__ == "__main__":
    main()
