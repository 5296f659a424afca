#!/usr/bin/env python3
"""Makes tests/golden/parity: tiny random models of every family with the logits that Hugging Face
transformers computes for them, and greedy continuations of real small models.

  python tools/make_goldens_parity.py [--real DIR]

Each folder holds config.json, the weights (one or many safetensors files) and golden.safetensors:
"ids" I32 [T] and "logits" F32 [T, V], computed in f32 from the weights as stored. greedy.json
holds, for each model under --real, prompts as text and ids and the 64 ids that follow greedily; no byte
of those models. Seeded: the same versions of torch and transformers give the same files.
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/parity"

# Small and odd where the architecture lets it be: vocabulary and feed-forward are no multiples of a
# vector's width, and some head sizes are not width / heads.
SHAPE = dict(vocab_size=53, hidden_size=24, intermediate_size=37, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
             rms_norm_eps=1e-5, hidden_act="silu", bos_token_id=1, eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)

# name -> model type, changes to SHAPE, dtype, tokens of the golden, bytes a shard, rope spelling.
# "old": rope_theta and rope_scaling at the top level, as files up to transformers 4 have it;
# "new": rope_parameters, as transformers 5 writes it.
MODELS = {
    "llama-plain": ("llama", dict(tie_word_embeddings=False), "float32", 40, None, "old"),
    "llama-tied-bf16": ("llama", dict(tie_word_embeddings=True), "bfloat16", 40, None, "old"),
    "llama-linear-f16": ("llama", dict(tie_word_embeddings=False, rope_scaling=dict(
        rope_type="linear", factor=4.0)), "float16", 64, None, "old"),
    "llama-llama3-rope": ("llama", dict(tie_word_embeddings=False, rope_theta=500000.0,
                                        rope_scaling=LLAMA3), "float32", 100, None, "old"),
    "llama-llama3-rope-new": ("llama", dict(tie_word_embeddings=True, rope_theta=500000.0,
                                            rope_scaling=LLAMA3), "bfloat16", 100, None, "new"),
    "llama-biases": ("llama", dict(tie_word_embeddings=False, attention_bias=True,
                                   mlp_bias=True), "float32", 40, None, "old"),
    "llama-head-dim": ("llama", dict(tie_word_embeddings=True, head_dim=16,
                                     num_key_value_heads=1), "bfloat16", 40, None, "old"),
    "llama-sharded": ("llama", dict(tie_word_embeddings=False), "float16", 40, 8000, "old"),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True, rms_norm_eps=1e-6, rope_theta=1000000.0,
                            use_sliding_window=False, sliding_window=64), "bfloat16", 40, None,
              "old"),
    "qwen2-untied": ("qwen2", dict(tie_word_embeddings=False, use_sliding_window=False,
                                   sliding_window=None), "float32", 40, None, "new"),
    "mistral": ("mistral", dict(tie_word_embeddings=False, sliding_window=None, head_dim=8),
                "float32", 40, None, "old"),
    "mistral-wide-window": ("mistral", dict(tie_word_embeddings=False, sliding_window=4096),
                            "float16", 40, None, "old"),
}


def config_of(kind: str, changes: dict):
    shape = dict(SHAPE, **changes)
    theta = shape.pop("rope_theta", 10000.0)
    scaling = shape.pop("rope_scaling", None) or dict(rope_type="default")
    config = AutoConfig.for_model(kind, **shape, rope_parameters=dict(scaling, rope_theta=theta))
    config.architectures = [
        dict(llama="LlamaForCausalLM", qwen2="Qwen2ForCausalLM", mistral="MistralForCausalLM")[kind]]
    return config, theta, scaling


def randomize(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights large enough that attention is sharp and every bias and norm matters."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            value = 1 + 0.3 * noise
        elif name.endswith("bias"):
            value = 0.5 * noise
        elif "embed" in name or "lm_head" in name:
            value = noise
        else:
            gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
            value = gain * noise / parameter.shape[1] ** 0.5
        parameter.data = value.to(parameter.dtype)


def make_model(name: str, seed: int) -> None:
    kind, changes, dtype, token_count, shard_bytes, spelling = MODELS[name]
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    config, theta, scaling = config_of(kind, changes)
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomize(model, generator)
    model = model.to(getattr(torch, dtype))
    limit = dict(max_shard_size=shard_bytes) if shard_bytes else {}
    model.save_pretrained(folder, **limit)
    (folder / "generation_config.json").unlink(missing_ok=True)

    if spelling == "old":
        path = folder / "config.json"
        written = json.loads(path.read_text())
        written.pop("rope_parameters", None)
        written["torch_dtype"] = written.pop("dtype", dtype)
        written["rope_theta"] = theta
        written["rope_scaling"] = None if scaling["rope_type"] == "default" else scaling
        path.write_text(json.dumps(written, indent=2) + "\n")

    # Loaded again from the files: a cast model would keep rotary frequencies of its old precision.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    ids = torch.randint(3, config.vocab_size, (token_count,), generator=generator)
    ids[0] = config.bos_token_id
    with torch.no_grad():
        logits = model(ids[None]).logits[0]
    save_file({"ids": ids.to(torch.int32), "logits": logits.contiguous()},
              folder / "golden.safetensors")
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{name}: {size // 1000} KB, logits {logits.min():.2f} .. {logits.max():.2f}")


PROMPTS = {
    "tinystories-656k": ["Once upon a time, there was a little girl named Lily.",
                         "Tom and his dog went to the park", "One day,"],
    "stories260k": ["Once upon a time", "The little bird wanted to fly, but", "Tim was sad."],
}


def make_greedy(real: pathlib.Path) -> None:
    goldens = {}
    for name, prompts in PROMPTS.items():
        tokenizer = Tokenizer.from_file(str(real / name / "tokenizer.json"))
        model = AutoModelForCausalLM.from_pretrained(real / name, dtype=torch.float32).eval()
        goldens[name] = []
        for text in prompts:
            ids = tokenizer.encode(text).ids
            sequence, narrowest = list(ids), float("inf")
            for _ in range(64):
                with torch.no_grad():
                    logits = model(torch.tensor([sequence])).logits[0, -1]
                best = torch.topk(logits, 2)
                narrowest = min(narrowest, (best.values[0] - best.values[1]).item())
                sequence.append(best.indices[0].item())
            # A tie would make the golden a coin toss between correct implementations.
            assert narrowest > 1e-3, (name, text, narrowest)
            goldens[name].append(dict(text=text, ids=ids, greedy=sequence[len(ids):]))
            print(f"{name}: {text!r}: closest decision {narrowest:.4f}")
    rows = [f'  {json.dumps(name)}: [\n' + ",\n".join("    " + json.dumps(g) for g in items) + "\n  ]"
            for name, items in goldens.items()]
    (GOLDEN / "greedy.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=pathlib.Path, help="folder of real models, for greedy.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(MODELS):
        make_model(name, seed + 1)
    if arguments.real:
        make_greedy(arguments.real)


if __name__ == "__main__":
    main()
