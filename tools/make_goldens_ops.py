#!/usr/bin/env python3
"""Goldens of single ops: inputs, outputs and the gradient of every input, by PyTorch's autograd.

    python3 tools/make_goldens_ops.py tests/golden/grad/ops.safetensors

Everything is F64. Names are OP.what; d_what is the gradient of sum(output * OP.d_out) (of the scaled
losses for cross entropy). Attention has two sequences of a ragged batch that read one shared prefix;
its keys and values are [G, N, D], the prefix first.
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
out = {}


def leaf(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).requires_grad_()


def save(op, inputs, outputs, loss):
    loss.backward()
    for name, tensor in inputs.items():
        out[f"{op}.{name}"] = tensor.detach().clone().contiguous()
        if tensor.grad is not None:
            out[f"{op}.d_{name}"] = tensor.grad.clone().contiguous()
    for name, tensor in outputs.items():
        out[f"{op}.{name}"] = tensor.detach().clone().contiguous()


def weighted(op, inputs, y, **more):
    dy = torch.randn_like(y)
    save(op, inputs, {"out": y, "d_out": dy, **more}, (y * dy).sum())


# y = x W^T + b
x, w, b = leaf(6, 19), torch.randn(35, 19), torch.randn(35)
weighted("matmul", {"x": x}, F.linear(x, w, b), weight=w, bias=b)

# RMSNorm, eps 1e-3
x, w = leaf(5, 21), torch.randn(21)
weighted("rms_norm", {"x": x}, F.rms_norm(x, (21,), w, 1e-3), weight=w)

# RoPE, rotate-half form: 2 heads of 8
x = leaf(4, 16)
positions = torch.tensor([0.0, 1.0, 17.0, 1001.0])
inv_freq = 10000.0 ** (-torch.arange(0, 8, 2) / 8)
angles = torch.outer(positions, inv_freq)
cos, sin = (torch.cat([f(angles)] * 2, -1)[:, None] for f in (torch.cos, torch.sin))
heads = x.view(4, 2, 8)
half = torch.cat([-heads[..., 4:], heads[..., :4]], -1)
weighted("rope", {"x": x}, (heads * cos + half * sin).view(4, 16), positions=positions,
         inv_freq=inv_freq)

# SwiGLU
gate, up = leaf(5, 23, scale=2), leaf(5, 23)
weighted("swiglu", {"gate": gate, "up": up}, F.silu(gate) * up)

# Cross entropy of rows, each loss times a scale
logits, scale = leaf(4, 41, scale=3), torch.rand(4)
targets = torch.tensor([0, 40, 7, 19])
losses = F.cross_entropy(logits, targets, reduction="none")
save("cross_entropy", {"logits": logits},
     {"loss": losses, "scale": scale, "targets": targets.double()}, (losses * scale).sum())

# Attention: H 6, G 2, D 8; prefix of 70 keys; sequences of 5 and 67 tokens
H, G, D = 6, 2, 8
prefix_k, prefix_v = leaf(G, 70, D), leaf(G, 70, D)
inputs, rows, lses = {"prefix_k": prefix_k, "prefix_v": prefix_v}, [], []
q = leaf(72, H * D)
inputs["q"] = q
begin = 0
for name, count in (("a", 5), ("b", 67)):
    k, v = leaf(G, count, D), leaf(G, count, D)
    inputs |= {f"{name}_k": k, f"{name}_v": v}
    keys = torch.cat([prefix_k, k], 1).repeat_interleave(H // G, 0)
    values = torch.cat([prefix_v, v], 1).repeat_interleave(H // G, 0)
    queries = q[begin:begin + count].view(count, H, D).transpose(0, 1)
    scores = queries @ keys.transpose(1, 2) / D**0.5
    visible = torch.arange(70 + count)[None] <= 70 + torch.arange(count)[:, None]
    scores = scores.masked_fill(~visible, float("-inf"))
    rows.append((scores.softmax(-1) @ values).transpose(0, 1).reshape(count, H * D))
    lses.append(scores.logsumexp(-1).T)
    begin += count
weighted("attention", inputs, torch.cat(rows), lse=torch.cat(lses))

save_file(out, sys.argv[1])
print(f"{len(out)} tensors, {sum(t.numel() * 8 for t in out.values())} bytes")
