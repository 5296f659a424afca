#!/usr/bin/env python3
"""Makes tests/golden/gguf with the reference package of the format, `gguf`:

  blocks.txt  random blocks of each type that onepass reads, and the values that the package gives
  types.txt   number, name, elements and bytes a block of every type that the package knows
  NAME.gguf   the tiny models of tests/golden/parity as GGUF files, as converters write them

Needs gguf, numpy, safetensors, torch. Run from the project's root:
    python tools/make_goldens_gguf.py
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from gguf_from_folder import write_gguf

OUT = pathlib.Path("tests/golden/gguf")
PARITY = pathlib.Path("tests/golden/parity")
SEED = 20240701
MODELS = {
    "llama-plain": "F32",
    "llama-tied-bf16": "BF16",
    "llama-linear-f16": "F16",
    "llama-llama3-rope": "F32",
    "llama-biases": "F32",
    "llama-head-dim": "BF16",
    "qwen2": "BF16",
    "mistral": "F32",
}


def random_blocks(kind, rng):
    """Three blocks of random bytes; their f16 scales are random small numbers."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = 3 if elements > 1 else 40
    if elements == 1:
        values = rng.standard_normal(count).astype(np.float32)
        values[:4] = [0.0, -0.0, 65504.0, 2.0**-24]
        if kind == Type.F32:
            return values.view(np.uint8), count
        if kind == Type.F16:
            return values.astype(np.float16).view(np.uint8), count
        return gguf.quants.quantize(values, kind).view(np.uint8).reshape(-1), count
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in {Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_K: [0, 2], Type.Q6_K: [208]}[kind]:
        scales = (0.1 * rng.standard_normal(count)).astype(np.float16)
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(count, 2)
    return blocks, count * elements


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    lines = []
    for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"):
        blocks, count = random_blocks(Type[name], rng)
        stored = blocks.view({"F32": np.float32, "F16": np.float16}.get(name, np.uint8))
        values = gguf.quants.dequantize(stored, Type[name]).astype(np.float32).reshape(-1)
        assert values.size == count
        bits = "".join(f"{bit:08x}" for bit in values.view(np.uint32))
        lines.append(f"{name} {count} {blocks.tobytes().hex()} {bits}\n")
    (OUT / "blocks.txt").write_text("".join(lines))
    (OUT / "types.txt").write_text("".join(
        f"{kind.value} {kind.name} {size[0]} {size[1]}\n"
        for kind, size in gguf.GGML_QUANT_SIZES.items()))
    for name, kind in MODELS.items():
        write_gguf(PARITY / name, OUT / f"{name}.gguf", kind)


if __name__ == "__main__":
    main()
