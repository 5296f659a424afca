#!/usr/bin/env python3
"""Loads a prompt folder that onepass wrote into real PEFT and runs the base with it.

Needs torch, transformers and peft. Without arguments it checks the folder of the tests, whose
vectors are those that PEFT itself once saved, so that the logits must be PEFT's too:
    python tools/check_peft_roundtrip.py [PROMPT BASE]
"""
import json
import pathlib
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/peft"


def main():
    prompt, base = sys.argv[1:3] if len(sys.argv) > 1 else (GOLDENS / "ours", GOLDENS / "base")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    width, vocab_size = model.config.hidden_size, model.config.vocab_size
    model = PeftModel.from_pretrained(model, str(prompt)).eval()
    config = model.peft_config["default"]
    vectors = model.prompt_encoder["default"].embedding.weight
    length = config.num_virtual_tokens
    assert config.token_dim == width and tuple(vectors.shape) == (length, width), vectors.shape
    expected = json.loads((GOLDENS / "expected.json").read_text())
    ids = torch.tensor([expected["ids"]]) % vocab_size
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0]
    assert tuple(logits.shape) == (length + ids.shape[1], vocab_size), logits.shape
    assert torch.isfinite(logits).all()
    if len(sys.argv) == 1:
        assert torch.equal(vectors, torch.tensor(expected["vectors"]))
        assert torch.allclose(logits, torch.tensor(expected["logits"]), rtol=1e-5, atol=1e-5)
    print(f"{prompt}: PEFT loads {length} vectors of {width}; logits {list(logits.shape)}")


if __name__ == "__main__":
    main()
