#!/usr/bin/env python3
"""Writes fuzz/seeds/gguf: small GGUF files, right ones with weights and tokenizers of both models,
and wrong ones, each for one check of the reader.

Needs gguf and numpy. Run from the project's root:
    python tools/make_seeds_gguf.py
"""
import pathlib
import struct

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

OUT = pathlib.Path("fuzz/seeds/gguf")
SEED = 20240702


def byte_alphabet():
    """GPT-2's characters for the bytes, in the bytes' order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) if b in plain else chr(256 + sorted(set(range(256)) - set(plain)).index(b))
            for b in range(256)]


def random_tensor(shape, kind, rng):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    if kind in (Type.F32, Type.Q8_0, Type.Q4_0, Type.F16, Type.BF16):
        return gguf.quants.quantize(rng.standard_normal(shape).astype(np.float32), kind)
    return rng.integers(0, 64, (*shape[:-1], shape[-1] // elements * size), dtype=np.uint8)


def write_base(name, architecture, kind, width, add_tokenizer, rope=False):
    rng = np.random.default_rng(SEED)
    vocab = add_tokenizer(None)
    writer = gguf.GGUFWriter(str(OUT / name), architecture)
    writer.add_context_length(16)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(1)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(4)
    writer.add_value_length(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    add_tokenizer(writer)

    def add(tensor, *shape, stored=Type.F32):
        writer.add_tensor(tensor, random_tensor(shape, stored, rng), raw_dtype=stored)

    add("token_embd.weight", vocab, width, stored=kind)
    for part, shape in (("attn_q", (4, width)), ("attn_k", (4, width)), ("attn_v", (4, width)),
                        ("ffn_gate", (1, width)), ("ffn_up", (1, width))):
        add(f"blk.0.{part}.weight", *shape, stored=kind)
        if architecture == "qwen2" and part.startswith("attn"):
            add(f"blk.0.{part}.bias", 4)
    add("blk.0.attn_output.weight", width, 4)
    add("blk.0.ffn_down.weight", width, 1)
    for norm in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        add(f"{norm}.weight", width)
    if rope:
        writer.add_tensor("rope_freqs.weight", np.array([1, 3], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def scored(writer):
    tokens = ["<s>", "</s>", "<unk>", "<0x0A>", "\u2581", "T", "h", "e", "Th", "The", "\u2581The"]
    if writer is not None:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([0.0] * 4 + [-9.0] * 4 + [-1.0, -1.0, -2.0])
        writer.add_token_types([3, 3, 2, 6, 1, 1, 1, 1, 1, 1, 4])
    return len(tokens)


def merged(writer):
    tokens = ["<s>", "</s>", *byte_alphabet(), "Th", "The", "[PAD]"]
    if writer is not None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("llama-bpe")
        writer.add_token_list(tokens)
        writer.add_token_types([3, 3] + [1] * 258 + [5])
        writer.add_token_merges(["T h", "Th e"])
    return len(tokens)


def no_tokenizer(_):
    return 2


def string(text):
    return struct.pack("<Q", len(text)) + text


def framed(values=(), tensors=(), data=b"", version=3):
    text = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    text += b"".join(values) + b"".join(tensors)
    return text + b"\0" * (-len(text) % 32) + data if data else text


def value(key, kind, rest):
    return string(key) + struct.pack("<I", kind) + rest


def tensor(name, dims, kind=0, offset=0):
    return (string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
            + struct.pack("<IQ", kind, offset))


def wrong_files():
    u32 = value(b"k", 4, struct.pack("<I", 1))
    yield "empty", b""
    yield "version_1", framed(version=1)
    yield "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "many_tensors", b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0)
    yield "key_twice", framed([u32, u32])
    yield "key_cut", framed([u32])[:-2]
    yield "lists_in_list", framed([value(b"k", 9, struct.pack("<IQ", 9, 1))])
    yield "long_list", framed([value(b"k", 9, struct.pack("<IQ", 10, 2**61))])
    yield "long_string", framed([value(b"k", 8, struct.pack("<Q", 2**64 - 1))])
    yield "alignment_24", framed([value(b"general.alignment", 4, struct.pack("<I", 24))])
    yield "overflow", framed([], [tensor(b"a", [2**32, 2**32])], b"1234")
    yield "overlap", framed([], [tensor(b"a", [16]), tensor(b"b", [1], offset=32)], bytes(64))
    yield "tensor_twice", framed([], [tensor(b"a", [1]), tensor(b"a", [1], offset=32)], bytes(64))
    yield "outside", framed([], [tensor(b"a", [17])], bytes(64))
    yield "part_of_block", framed([], [tensor(b"a", [33], 8)], bytes(64))
    yield "unknown_type", framed([], [tensor(b"a", [1], 4)], bytes(64))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write_base("llama_f32.gguf", "llama", Type.F32, 4, scored, rope=True)
    write_base("llama_q8_0.gguf", "llama", Type.Q8_0, 32, scored)
    write_base("llama_q4_k.gguf", "llama", Type.Q4_K, 256, no_tokenizer)
    write_base("llama_q6_k.gguf", "llama", Type.Q6_K, 256, no_tokenizer)
    write_base("qwen2_bf16.gguf", "qwen2", Type.BF16, 4, merged)
    for name, text in wrong_files():
        (OUT / f"{name}.gguf").write_bytes(text)


if __name__ == "__main__":
    main()
