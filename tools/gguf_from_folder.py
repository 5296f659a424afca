#!/usr/bin/env python3
"""Writes a Hugging Face folder (llama, qwen2, mistral) as a GGUF file, as converters do it:

    python tools/gguf_from_folder.py FOLDER OUT.gguf [--type F32|F16|BF16|Q8_0|Q4_0|Q4_K|Q6_K]

Matrices in the type asked for, vectors in F32; query and key weights of llama and mistral in GGUF's
order of rows; a tokenizer.json's vocabulary, merges and special tokens, where there is one, else a
note that there is none, as other programs want it. For tests and small models: all that is written
is in memory. Needs gguf, numpy, safetensors, torch.
"""
import argparse
import json
import math
import pathlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors import safe_open

import k_quants

LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def tensor_name(name):
    stem, suffix = name.rsplit(".", 1)
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.{suffix}"
    layer, part = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{LAYER[part]}.{suffix}"


def interleaved(tensor, heads):
    """Rows (half, i) of every head become rows (i, half)."""
    shape = tensor.shape
    rows = tensor.reshape(heads, 2, shape[0] // heads // 2, *shape[1:])
    return rows.swapaxes(1, 2).reshape(shape)


def read_tensors(folder):
    """{name: a function that gives the tensor in F32}."""
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        file = safe_open(path, "pt")
        for name in file.keys():
            tensors[name] = (
                lambda file=file, name=name: file.get_tensor(name).to(torch.float32).numpy())
    return tensors


def rope_of(config):
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = scaling.get("rope_theta", config.get("rope_theta", 10000.0))
    return theta, scaling, scaling.get("rope_type", scaling.get("type", "default"))


def llama3_factors(theta, scaling, head_dim):
    low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
    high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
    factors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * theta ** (i / head_dim)
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(scaling["factor"])
        else:
            smooth = (scaling["original_max_position_embeddings"] / wavelength
                      - scaling["low_freq_factor"])
            smooth /= scaling["high_freq_factor"] - scaling["low_freq_factor"]
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, np.float32)


def add_config(writer, config, head_dim):
    theta, scaling, kind = rope_of(config)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads", config["num_attention_heads"]))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(theta)
    writer.add_rope_dimension_count(head_dim)
    writer.add_vocab_size(config["vocab_size"])
    if head_dim * config["num_attention_heads"] != config["hidden_size"]:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    elif kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(theta, scaling, head_dim))


def pre_type(tokenizer):
    """The name of a byte-level tokenizer's way to cut words, by its patterns."""
    steps = tokenizer["pre_tokenizer"]
    steps = steps.get("pretokenizers", [steps])
    patterns = "".join(json.dumps(step.get("pattern", "")) for step in steps)
    if any(step["type"] == "Digits" for step in steps):
        return "smollm"
    if "{1,3}" in patterns:
        return "llama-bpe"
    return "qwen2" if "Regex" in patterns else "gpt-2"


def add_tokenizer(writer, config, tokenizer):
    model = tokenizer["model"]
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    texts = dict((id, text) for text, id in model["vocab"].items())
    texts.update((id, token["content"]) for id, token in added.items())
    byte_level = "▁" not in json.dumps(tokenizer.get("normalizer"), ensure_ascii=False)
    tokens, types = [], []
    for id in range(config["vocab_size"]):
        tokens.append(texts.get(id, f"[PAD{id}]"))
        if id in added:
            special = added[id]["special"]
            unknown = texts[id] == model.get("unk_token")
            types.append(UNKNOWN if unknown else CONTROL if special else USER_DEFINED)
        elif id not in texts:
            types.append(UNUSED)
        else:
            is_byte = not byte_level and len(texts[id]) == 6 and texts[id].startswith("<0x")
            types.append(BYTE if is_byte else NORMAL)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    if byte_level:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre_type(tokenizer))
        writer.add_token_merges(merges)
    else:
        writer.add_tokenizer_model("llama")
        # A token's score is the rank of the first merge that makes it.
        scores = dict.fromkeys(range(len(tokens)), -1e6)
        for rank, merge in reversed(list(enumerate(merges))):
            scores[model["vocab"][merge.replace(" ", "")]] = -float(rank)
        writer.add_token_scores([scores[id] for id in range(len(tokens))])
    template = json.dumps(tokenizer.get("post_processor"))
    writer.add_add_bos_token("SpecialToken" in template)


def quantised(tensor, kind):
    if kind in (Type.Q4_K, Type.Q6_K):
        return k_quants.quantise(tensor, kind.name)
    return gguf.quants.quantize(tensor, kind)


def write_gguf(folder, out, kind="F32", note_no_vocabulary=False):
    config = json.loads((folder / "config.json").read_text())
    architecture = "qwen2" if config["model_type"] == "qwen2" else "llama"
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer = gguf.GGUFWriter(str(out), architecture)
    writer.add_name(folder.name)
    add_config(writer, config, head_dim)
    for key, add in (("bos_token_id", writer.add_bos_token_id),
                     ("eos_token_id", writer.add_eos_token_id)):
        if isinstance(config.get(key), int):
            add(config[key])
    if (folder / "tokenizer.json").exists():
        add_tokenizer(writer, config, json.loads((folder / "tokenizer.json").read_text()))
    elif note_no_vocabulary:
        writer.add_tokenizer_model("no_vocab")
    tensors = read_tensors(folder)
    if config.get("tie_word_embeddings") and "model.embed_tokens.weight" not in tensors:
        tensors["model.embed_tokens.weight"] = tensors.pop("lm_head.weight")
    for name, read in tensors.items():
        tensor = read()
        if architecture == "llama" and (".q_proj." in name or ".k_proj." in name):
            tensor = interleaved(tensor, heads if ".q_proj." in name else kv_heads)
        tensor = np.ascontiguousarray(tensor)
        stored = Type.F32 if tensor.ndim == 1 else Type[kind]
        if tensor.shape[-1] % gguf.GGML_QUANT_SIZES[stored][0] != 0:
            stored = Type.F16  # no whole blocks
        writer.add_tensor(tensor_name(name), quantised(tensor, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--type", default="F32",
                        choices=["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"])
    arguments = parser.parse_args()
    write_gguf(arguments.folder, arguments.out, arguments.type, note_no_vocabulary=True)


if __name__ == "__main__":
    main()
