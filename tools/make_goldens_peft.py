#!/usr/bin/env python3
"""Writes tests/golden/peft: a tiny base, prompts as PEFT saves them, and the logits that PEFT
computes with them.

Needs torch, transformers and peft. Run from the project's root:
    python tools/make_goldens_peft.py
"""
import json
import pathlib
import shutil

import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT = pathlib.Path("tests/golden/peft")
BASE = OUT / "base"
IDS = [1, 7, 3, 29, 12]


def make_base():
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
                         tie_word_embeddings=True, initializer_range=0.3)
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(BASE)
    (BASE / "generation_config.json").unlink(missing_ok=True)
    return LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()


def save(model, name):
    model.save_pretrained(OUT / name)
    (OUT / name / "README.md").unlink(missing_ok=True)


def main():
    shutil.rmtree(OUT / "base", ignore_errors=True)
    expected = {"ids": IDS}
    model = get_peft_model(make_base(), PromptTuningConfig(task_type="CAUSAL_LM",
                                                           num_virtual_tokens=4))
    model.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.normal_(0, 0.5)
        vectors = model.prompt_encoder["default"].embedding.weight
        expected["vectors"] = vectors.tolist()
        expected["logits"] = model(input_ids=torch.tensor([IDS])).logits[0].tolist()
    save(model, "f32")
    # The same prompt as a half-precision training run would leave it.
    for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        shutil.rmtree(OUT / name, ignore_errors=True)
        shutil.copytree(OUT / "f32", OUT / name)
        path = OUT / name / "adapter_model.safetensors"
        tensors = {key: value.to(dtype) for key, value in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
        expected[name] = tensors["prompt_embeddings"].float().tolist()
    save(get_peft_model(make_base(), LoraConfig(task_type="CAUSAL_LM", r=1,
                                                target_modules=["q_proj"])), "lora")
    (OUT / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
