#!/usr/bin/env python3
"""Goldens of whole training samples: losses and the gradients of the trained rows, by PyTorch.

    python3 tools/make_goldens_sample.py tests/golden/grad/sample

An oracle that shares nothing with the engine: a Llama in plain torch, in double, whose every token
attends through one explicit boolean mask, filled from the visibility table of docs/method.md; the
gradient is autograd's, through all of it. Writes a tiny random base (base/config.json,
base/model.safetensors, F32), and cases.json + cases.safetensors (F64): token lists, prompts, and for
each case the losses of all targets and d(mean loss)/d(prompt) over a batch of two ragged samples.
multi.json + multi.safetensors: traces of several rounds, whose stages are trained together and add
tokens of their own: d(loss of each output)/d(rows of each stage).
"""
import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

torch.manual_seed(20)
torch.set_num_threads(1)

V, C, L, H, G, D, F = 37, 16, 2, 4, 2, 4, 24
THETA, EPS = 10000.0, 1e-5
P_A, P_B = 5, 3


def random_base():
    def normal(*shape):
        return (torch.randn(*shape) * 0.2).float()

    weights = {"model.embed_tokens.weight": normal(V, C), "model.norm.weight": 1 + normal(C)}
    for i in range(L):
        p = f"model.layers.{i}."
        weights |= {
            p + "input_layernorm.weight": 1 + normal(C),
            p + "post_attention_layernorm.weight": 1 + normal(C),
            p + "self_attn.q_proj.weight": normal(H * D, C),
            p + "self_attn.k_proj.weight": normal(G * D, C),
            p + "self_attn.v_proj.weight": normal(G * D, C),
            p + "self_attn.o_proj.weight": normal(C, H * D),
            p + "mlp.gate_proj.weight": normal(F, C),
            p + "mlp.up_proj.weight": normal(F, C),
            p + "mlp.down_proj.weight": normal(C, F),
        }
    return weights


CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": V,
    "hidden_size": C, "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": G,
    "head_dim": D, "intermediate_size": F, "max_position_embeddings": 256, "rms_norm_eps": EPS,
    "rope_theta": THETA, "tie_word_embeddings": True, "hidden_act": "silu",
    "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32",
}


def rms_norm(x, weight):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + EPS) * weight


def rope(x, positions):  # x: [T, heads, D]
    inv_freq = THETA ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    angle = positions[:, None].double() * inv_freq[None]
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    a, b = x[..., : D // 2], x[..., D // 2:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def forward(w, x, positions, mask):
    """Normed residual [T, C] of input vectors x [T, C]; mask[i, j]: token i attends to token j."""
    T = x.shape[0]
    for i in range(L):
        p = f"model.layers.{i}."
        n = rms_norm(x, w[p + "input_layernorm.weight"])
        q = rope((n @ w[p + "self_attn.q_proj.weight"].T).view(T, H, D), positions)
        k = rope((n @ w[p + "self_attn.k_proj.weight"].T).view(T, G, D), positions)
        v = (n @ w[p + "self_attn.v_proj.weight"].T).view(T, G, D)
        k, v = (t.repeat_interleave(H // G, 1) for t in (k, v))
        scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(D)
        scores = scores.masked_fill(~mask[None], float("-inf"))
        out = torch.einsum("hij,jhd->ihd", torch.softmax(scores, -1), v).reshape(T, H * D)
        x = x + out @ w[p + "self_attn.o_proj.weight"].T
        n = rms_norm(x, w[p + "post_attention_layernorm.weight"])
        gate = torch.nn.functional.silu(n @ w[p + "mlp.gate_proj.weight"].T)
        x = x + (gate * (n @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
    return rms_norm(x, w["model.norm.weight"])


# The visibility table: what a segment's tokens attend to besides earlier tokens of themselves. Two
# stages, A and B; B reads O_A. T is the text of O_A, read again under a text hand-off.
FRONT_FTHSS = {
    "P_A": [], "P_B": [], "S": [], "I_A": ["P_A", "S"], "O_A": ["P_A", "S", "I_A"],
    "I_B": ["P_B", "S", "O_A"], "O_B": ["P_B", "S", "O_A", "I_B"],
}
INLINE_FTHSS = {
    "S": [], "P_A": ["S"], "I_A": ["P_A", "S"], "O_A": ["P_A", "S", "I_A"],
    "P_B": ["S", "O_A"], "I_B": ["P_B", "S", "O_A"], "O_B": ["P_B", "S", "O_A", "I_B"],
}
FRONT_A = {k: FRONT_FTHSS[k] for k in ("P_A", "S", "I_A", "O_A")}
INLINE_A = {k: INLINE_FTHSS[k] for k in ("S", "P_A", "I_A", "O_A")}
FRONT_TEXT_B = {
    "P_B": [], "S": [], "T": ["P_B", "S"], "I_B": ["P_B", "S", "T"],
    "O_B": ["P_B", "S", "T", "I_B"],
}
INLINE_TEXT_B = {
    "S": [], "T": ["S"], "P_B": ["S", "T"], "I_B": ["P_B", "S", "T"],
    "O_B": ["P_B", "S", "T", "I_B"],
}
CASES = [
    {"name": "standard_a_front", "table": FRONT_A, "stage": 0, "placement": "front"},
    {"name": "standard_a_inline", "table": INLINE_A, "stage": 0, "placement": "inline"},
    {"name": "standard_b_front", "table": FRONT_TEXT_B, "stage": 1, "placement": "front"},
    {"name": "standard_b_inline", "table": INLINE_TEXT_B, "stage": 1, "placement": "inline"},
    {"name": "fthss_b_front", "table": FRONT_FTHSS, "stage": 1, "placement": "front"},
    {"name": "fthss_b_inline", "table": INLINE_FTHSS, "stage": 1, "placement": "inline"},
]


def tokens(generator, count):
    return torch.randint(0, V, (count,), generator=generator).tolist()


def make_samples():
    generator = torch.Generator().manual_seed(5)
    samples = []
    for scale in (1, 2):
        # O_A starts with a given token; O_B has none, so I_B's last token predicts its first.
        samples.append({
            "S": tokens(generator, 4 * scale), "I_A": tokens(generator, 9 * scale + 1),
            "O_A": tokens(generator, 6 + scale), "T": tokens(generator, 7 + scale),
            "I_B": tokens(generator, 3 * scale), "O_B": tokens(generator, 4 + scale),
        })
    return samples


END = 2  # predicted after an output's text, never fed


def make_mask(order, length, table):
    """Each segment's first row, and who attends to whom."""
    begin, row = {}, 0
    for name in order:
        begin[name] = row
        row += length[name]
    mask = torch.zeros(row, row, dtype=torch.bool)
    for name in order:
        rows = slice(begin[name], begin[name] + length[name])
        for seen in table[name]:
            mask[rows, begin[seen]:begin[seen] + length[seen]] = True
        mask[rows, rows] = torch.tril(torch.ones(length[name], length[name], dtype=torch.bool))
    return begin, mask


ROOM = 10  # positions for an input that stands before S


# Traces A -> B -> A -> B ...; B has an own input, in its first run. Each stage adds two tokens: what
# its outputs start with and what they end with. Their ids stand behind the base's: V and V + 1 are
# A's, V + 2 and V + 3 are B's. A stage predicts the base's tokens and its own two.
def multi_table(layout, outputs):
    """Segment -> what it sees, in the order of writing. outputs: O_1A, O_1B ... of the trace.

    layout: the prompts' placement, or "first": in front, and B's own input in a room before S."""
    table = {} if layout == "inline" else {"P_A": [], "P_B": []}
    if layout == "first" and "O_1B" in outputs:
        table["I_B"] = ["P_B"]
    table["S"] = []
    for i, name in enumerate(outputs):
        stage, seen = name[-1], ["S"] + outputs[:i]
        if f"P_{stage}" not in table:
            table[f"P_{stage}"] = list(seen)
        if stage == "B":
            if "I_B" not in table:
                table["I_B"] = ["P_B"] + seen
            seen = seen + ["I_B"]
        table[name] = [f"P_{stage}"] + seen
    return table


def run_multi(w, rows, layout, sample):
    """Losses of each output of a trace; rows[stage]: prompt, two embedding rows, two head rows."""
    prompts = {"P_A": rows["A"][:P_A], "P_B": rows["B"][:P_B]}
    own = {"A": rows["A"][P_A:], "B": rows["B"][P_B:]}
    embedding = torch.cat([w["model.embed_tokens.weight"], own["A"][:2], own["B"][:2]])
    table = multi_table(layout, [n for n in sample if n.startswith("O_")])
    order = list(table)
    length = {n: len(sample[n]) if n in sample else prompts[n].shape[0] for n in order}
    begin, mask = make_mask(order, length, table)
    x = torch.cat([embedding[sample[n]] if n in sample else prompts[n] for n in order])
    # Both prompts stand in front or one index runs through: rows are positions. An input that stands
    # first ends where S starts, which is always behind the whole room.
    positions = torch.arange(x.shape[0])
    if layout == "first":
        positions[begin["S"]:] += P_A + P_B + ROOM - begin["S"]
        if "I_B" in order:
            rows = slice(begin["I_B"], begin["S"])
            positions[rows] += ROOM - length["I_B"]
    normed = forward(w, x, positions, mask)
    losses = {}
    for name in order:
        if not name.startswith("O_"):
            continue
        stage, first = name[-1], V + (2 if name[-1] == "B" else 0)
        head = torch.cat([w["model.embed_tokens.weight"], own[stage][2:]])
        logits = normed[begin[name]:begin[name] + length[name]] @ head.T
        targets = torch.tensor(sample[name][1:] + [V + 1])  # its end token, as its logits have it
        assert sample[name][0] == first
        losses[name] = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return losses


def make_multi(w, out):
    generator = torch.Generator().manual_seed(9)
    samples = []
    for outputs in (["O_1A", "O_1B", "O_2A", "O_2B", "O_3A"], ["O_1A"], ["O_1A", "O_1B", "O_2A"]):
        sample = {"S": tokens(generator, 4 + len(outputs))}
        if len(outputs) > 1:
            sample["I_B"] = tokens(generator, 6)
        for i, name in enumerate(outputs):
            start = V + (2 if name[-1] == "B" else 0)
            sample[name] = [start] + tokens(generator, 3 + i)
        samples.append(sample)
    rows = {"A": torch.randn(P_A + 4, C).double() * 0.3, "B": torch.randn(P_B + 4, C).double() * 0.3}
    tensors = {"rows_A": rows["A"].clone(), "rows_B": rows["B"].clone()}
    for layout in ("front", "inline", "first"):
        trained = {s: rows[s].clone().requires_grad_(True) for s in rows}
        by_sample = [run_multi(w, trained, layout, sample) for sample in samples]
        every = torch.cat([loss for losses in by_sample for loss in losses.values()])
        tensors[layout + ".losses"] = every.detach()
        grads = torch.autograd.grad(every.mean(), [trained["A"], trained["B"]], retain_graph=True)
        tensors[layout + ".gradient_A"], tensors[layout + ".gradient_B"] = grads
        # Of the first trace: who is influenced by whom.
        for name, loss in by_sample[0].items():
            grads = torch.autograd.grad(loss.sum(), [trained["A"], trained["B"]],
                                        retain_graph=True, allow_unused=True)
            for stage, grad in zip("AB", grads):
                if grad is None:
                    grad = torch.zeros_like(rows[stage])
                tensors[f"{layout}.{name}_by_{stage}"] = grad
    save_file(tensors, out / "multi.safetensors", metadata={"format": "pt"})
    (out / "multi.json").write_text(json.dumps({"samples": samples}, indent=1) + "\n")


def run_case(w, prompts, case, sample):
    table, target = case["table"], "O_B" if case["stage"] else "O_A"
    length = {name: len(sample[name]) if name in sample else prompts[name].shape[0]
              for name in table}
    order = list(table)
    # Positions: front, all prompts stand first, whether this stage uses them or not; inline, one
    # running index. A text hand-off's texts run on from the end of S.
    positions, at = {}, 0
    if case["placement"] == "front":
        positions = {"P_A": 0, "P_B": P_A}
        at = P_A + P_B
    for name in order:
        if name in positions:
            continue
        positions[name] = at
        at += length[name]
    begin, mask = make_mask(order, length, table)
    x = torch.cat([w["model.embed_tokens.weight"][sample[name]] if name in sample
                   else prompts[name] for name in order])
    index = torch.cat([torch.arange(positions[n], positions[n] + length[n]) for n in order])
    logits = forward(w, x, index, mask) @ w["model.embed_tokens.weight"].T
    out, rows = sample[target], begin[target] + torch.arange(length[target])
    if case["stage"] == 0:  # the first token of O_A is given
        targets = out[1:] + [END]
    else:  # the token before O_B predicts its first
        assert order.index("I_B") + 1 == order.index(target)
        rows = torch.cat([rows[:1] - 1, rows])
        targets = out + [END]
    return torch.nn.functional.cross_entropy(logits[rows], torch.tensor(targets), reduction="none")


def main():
    out = Path(sys.argv[1])
    (out / "base").mkdir(parents=True, exist_ok=True)
    base = random_base()
    save_file(base, out / "base" / "model.safetensors", metadata={"format": "pt"})
    (out / "base" / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    w = {name: tensor.double() for name, tensor in base.items()}
    samples = make_samples()
    tensors = {"P_A": torch.randn(P_A, C).double() * 0.3, "P_B": torch.randn(P_B, C).double() * 0.3}
    for case in CASES:
        prompts = {"P_A": tensors["P_A"].clone(), "P_B": tensors["P_B"].clone()}
        trained = prompts["P_B" if case["stage"] else "P_A"].requires_grad_(True)
        losses = torch.cat([run_case(w, prompts, case, sample) for sample in samples])
        losses.mean().backward()
        tensors[case["name"] + ".losses"] = losses.detach()
        tensors[case["name"] + ".gradient"] = trained.grad
    make_multi(w, out)
    save_file(tensors, out / "cases.safetensors", metadata={"format": "pt"})
    cases = [{k: case[k] for k in ("name", "stage", "placement")} for case in CASES]
    for case, made in zip(cases, CASES):
        case["handoff"] = "kv" if "fthss" in made["name"] else "text"
    text = json.dumps({"end_token": END, "samples": samples, "cases": cases}, indent=1)
    (out / "cases.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
