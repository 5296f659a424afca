#!/usr/bin/env python3
"""Writes tests/golden/safetensors: a file that the reference library wrote, and its verdicts on
hostile files.

verdicts.json is a list of {"what", "bytes" (base64), "reference", "ours"}: whether the reference
validator takes the file, and whether our reader should. Ours is never laxer; it is stricter for
repeated keys, headers that do not begin with "{", and dtypes that it does not know.

Needs safetensors and numpy. Run from the project's root:
    python tools/make_goldens_safetensors.py
"""
import base64
import json
import pathlib
import random
import struct

import numpy as np
from safetensors import deserialize
from safetensors.numpy import save_file

OUT = pathlib.Path("tests/golden/safetensors")
DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL",
          "F8_E4M3", "F8_E5M2"}
SEED = 20240601


def framed(header, data=b"", size=None):
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def info(dtype="F32", shape="[1]", offsets="[0,4]"):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def cases():
    one = '{"a":' + info() + "}"
    data = b"1234"
    yield "plain", framed(one, data)
    yield "spaces behind", framed(one + " \n\t", data)
    yield "space in front", framed(" " + one, data)
    yield "zeros behind", framed(one + "\0\0", data)
    yield "unknown field", framed('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}', data)
    yield "tensor twice", framed(f'{{"a":{info()},"a":{info()}}}', data)
    yield "metadata key twice", framed('{"__metadata__":{"x":"1","x":"2"}}')
    yield "metadata null", framed('{"__metadata__":null}')
    yield "metadata number", framed('{"__metadata__":{"x":1}}')
    yield "metadata nested", framed('{"__metadata__":{"x":{}}}')
    yield "empty object", framed("{}")
    yield "list", framed("[]")
    yield "no header", framed("")
    yield "byte order mark", framed("\ufeff" + one, data)
    yield "not UTF-8", framed(b'{"\xff":' + info().encode() + b"}", data)
    yield "lone surrogate", framed('{"\\ud800":' + info() + "}", data)
    yield "empty name", framed('{"":' + info() + "}", data)
    yield "scalar", framed('{"a":' + info(shape="[]") + "}", data)
    yield "no elements", framed('{"a":' + info(shape="[0]", offsets="[0,0]") + "}")
    yield "zero first", framed('{"a":' + info(shape="[0,4611686018427387904,9]", offsets="[0,0]") + "}")
    yield "zero last", framed('{"a":' + info(shape="[18446744073709551615,2,0]", offsets="[0,0]") + "}")
    yield "product overflows", framed('{"a":' + info(shape="[4294967296,4294967296]", offsets="[0,0]") + "}")
    yield "fractional shape", framed('{"a":' + info(shape="[1.0]") + "}", data)
    yield "negative shape", framed('{"a":' + info(shape="[-1]") + "}", data)
    yield "offsets reversed", framed('{"a":' + info(offsets="[4,0]") + "}", data)
    yield "three offsets", framed('{"a":' + info(offsets="[0,4,4]") + "}", data)
    yield "gap", framed('{"a":' + info(offsets="[1,5]") + "}", b"x" + data)
    yield "overlap", framed(f'{{"a":{info()},"b":{info(offsets="[2,6]")}}}', b"123456")
    yield "shared bytes", framed(f'{{"a":{info()},"b":{info()}}}', data)
    yield "out of order", framed(f'{{"b":{info(offsets="[4,8]")},"a":{info()}}}', data + data)
    yield "bytes left over", framed(one, data + b"5")
    yield "header size past the end", framed(one, data, size=len(one) + 5)
    yield "header size 2^63", framed(one, data, size=1 << 63)
    yield "nesting", framed('{"a":' + "[" * 200 + "]" * 200 + "}", data)
    for dtype in ("F16", "BOOL", "F8_E4M3", "I64", "F4", "F6_E2M3", "C64", "f32", "Q8"):
        size = {"F16": 4, "I64": 16, "F4": 1, "C64": 16}.get(dtype, 2)
        yield "dtype " + dtype, framed(
            '{"a":' + info(dtype, "[2]", f"[0,{size}]") + "}", b"\1" * size)
    rng = random.Random(SEED)
    seed = framed(f'{{"a":{info()},"b":{info("U8", "[2,1]", "[4,6]")},"__metadata__":{{"k":"v"}}}}', b"123456")
    for i in range(120):
        mutant = bytearray(seed)
        for _ in range(rng.randint(1, 2)):
            kind = rng.random()
            at = rng.randrange(len(mutant))
            if kind < 0.5:
                mutant[at] = rng.choice(b'0123456789{}[]":, abUF_\x00\xff')
            elif kind < 0.75:
                del mutant[at]
            else:
                mutant.insert(at, rng.choice(b'0123456789{}[]":, abUF_\x00\xff'))
        yield f"mutant {i}", bytes(mutant)


def reference_takes(data):
    try:
        deserialize(data)
        return True
    except Exception:  # whatever it says, it refuses
        return False


def ours_takes(data):
    if not reference_takes(data):
        return False
    size = struct.unpack("<Q", data[:8])[0]
    header = data[8:8 + size].decode()

    def unique(pairs):
        keys = [key for key, _ in pairs]
        if len(keys) != len(set(keys)):
            raise ValueError("a key twice")
        return dict(pairs)

    try:
        parsed = json.loads(header, object_pairs_hook=unique)
    except ValueError:
        return False
    known = all(isinstance(value, dict) and value["dtype"] in DTYPES
                for key, value in parsed.items() if key != "__metadata__")
    return header.startswith("{") and known


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    verdicts = [{"what": what, "bytes": base64.b64encode(data).decode(),
                 "reference": reference_takes(data), "ours": ours_takes(data)}
                for what, data in cases()]
    lines = ",\n".join(json.dumps(verdict) for verdict in verdicts)
    (OUT / "verdicts.json").write_text("[\n" + lines + "\n]\n")
    values = np.array([[0.0, 1.0, -2.5], [65504.0, 2.0 ** -24, -0.0]])
    save_file({"double": values, "single": values.astype(np.float32),
               "half": values.astype(np.float16), "int": np.array([-5], dtype=np.int64),
               "empty": np.zeros((0, 3), dtype=np.float32)},
              OUT / "mixed.safetensors", metadata={"maker": "reference"})


if __name__ == "__main__":
    main()
