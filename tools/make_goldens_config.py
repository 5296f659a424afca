#!/usr/bin/env python3
"""Writes tests/golden/config: config.json files as transformers saves them, and the rotary
frequencies that it computes from them.

Needs torch and transformers 5 or later. Run from the project's root:
    python tools/make_goldens_config.py
"""
import json
import pathlib

from transformers import LlamaConfig, MistralConfig, Qwen2Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

OUT = pathlib.Path("tests/golden/config")
SMALL = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=16384)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)

CONFIGS = {
    "llama": LlamaConfig(architectures=["LlamaForCausalLM"], **SMALL),
    "llama_linear": LlamaConfig(architectures=["LlamaForCausalLM"], head_dim=16,
                                rope_parameters=dict(rope_type="linear", factor=4.0,
                                                     rope_theta=50000.0), **SMALL),
    "llama_llama3": LlamaConfig(architectures=["LlamaForCausalLM"], head_dim=64,
                                attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                eos_token_id=[2, 3],
                                rope_parameters=dict(rope_theta=500000.0, **LLAMA3), **SMALL),
    "qwen2": Qwen2Config(architectures=["Qwen2ForCausalLM"], tie_word_embeddings=True, **SMALL),
    "mistral": MistralConfig(architectures=["MistralForCausalLM"], sliding_window=None, **SMALL),
}


def frequencies(config):
    rotary = LlamaRotaryEmbedding(config)
    assert rotary.attention_scaling == 1.0
    return [float(f) for f in rotary.inv_freq]


def old_spelling(config):
    """The same config as transformers 4 saved it."""
    saved = json.loads(config.to_json_string())
    rope = saved.pop("rope_parameters")
    saved["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    saved["rope_scaling"] = None if kind == "default" else {
        ("type" if kind == "linear" else "rope_type"): kind, **rope}
    saved["torch_dtype"] = "bfloat16"
    saved["transformers_version"] = "4.41.2"
    return saved


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, config in CONFIGS.items():
        new = json.loads(config.to_json_string())
        for spelling, saved in (("", new), ("_old", old_spelling(config))):
            (OUT / f"{name}{spelling}.json").write_text(json.dumps(saved, indent=1) + "\n")
        expected[name] = {"inv_freq": frequencies(config)}
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
