"""A small Llama in PyTorch: what pretrain_base.py trains and eval_base.py scores.

Parameter names are those of Hugging Face's LlamaForCausalLM, so a state dict is the model.safetensors of the base.
"""
import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

EPS = 1e-5
THETA = 10000.0


def rope_tables(length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    inverse = THETA ** (-torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(length).float(), inverse)
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


class Norm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, EPS)


def query_blocks(length: int) -> list[tuple[int, int]]:
    """Rows of queries that are handled together: none of a block needs the keys behind it."""
    count = 8 if length >= 128 else 1
    step = length // count
    return [(i * step, (i + 1) * step if i + 1 < count else length) for i in range(count)]


class CausalAttention(torch.autograd.Function):
    """softmax(q k^T + mask) v for q [N, R, T, D], scaled, and k, v [N, T, D] that R heads share; mask [T, T] is 0 or -inf.

    Spelled out, since the fused attention's backward is several times slower on CPU at these lengths, and most of the
    time goes into passes over scores: the backward keeps the unnormalised probabilities and makes one pass over them.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        n, repeats, length, size = q.shape
        outputs, kept, totals = [], [], []
        for begin, end in query_blocks(length):
            scores = (q[:, :, begin:end].reshape(n, -1, size) @ k[:, :end].mT).view(n, repeats, end - begin, end)
            scores = scores.float() + mask[begin:end, :end]
            p = torch.exp(scores - scores.amax(-1, keepdim=True))
            total = p.sum(-1, keepdim=True)
            p = p.to(v.dtype)
            outputs.append(((p.view(n, -1, end) @ v[:, :end]).view(n, repeats, end - begin, size) / total).to(v.dtype))
            kept.append(p)
            totals.append(total)
        y = torch.cat(outputs, 2)
        ctx.save_for_backward(q, k, v, y, *kept, *totals)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, y, *rest = ctx.saved_tensors
        n, repeats, length, size = q.shape
        dq, dk, dv = [], torch.zeros_like(k), torch.zeros_like(v)
        for i, (begin, end) in enumerate(query_blocks(length)):
            p, total = rest[i], rest[len(rest) // 2 + i]
            part = dy[:, :, begin:end].float() / total
            delta = (part * y[:, :, begin:end]).sum(-1, keepdim=True)
            part = part.to(v.dtype).reshape(n, -1, size)
            dp = (part @ v[:, :end].mT).view(n, repeats, end - begin, end)
            ds = (p * (dp - delta)).to(v.dtype).view(n, -1, end)
            dq.append((ds @ k[:, :end]).view(n, repeats, end - begin, size))
            dk[:, :end] += ds.mT @ q[:, :, begin:end].reshape(n, -1, size)
            dv[:, :end] += p.view(n, -1, end).mT @ part
        return torch.cat(dq, 2), dk, dv, None


class Attention(nn.Module):
    def __init__(self, cfg: dict):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = cfg["num_attention_heads"], cfg["num_key_value_heads"], cfg["head_dim"]
        width = cfg["hidden_size"]
        self.q_proj = nn.Linear(width, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(width, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        batch, length, _ = x.shape
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        qkv = F.linear(x, weight).view(batch, length, -1, self.head_dim).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], 1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        # Query heads of one KV head stand one after another.
        q = (q * self.head_dim**-0.5).reshape(batch * self.kv_heads, -1, length, self.head_dim)
        k, v = k.reshape(batch * self.kv_heads, length, -1), v.reshape(batch * self.kv_heads, length, -1)
        y = CausalAttention.apply(q, k, v, mask).view(batch, self.heads, length, -1)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self, cfg: dict):
        super().__init__()
        width, hidden = cfg["hidden_size"], cfg["intermediate_size"]
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, cfg: dict):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(cfg["hidden_size"]), Norm(cfg["hidden_size"])
        self.self_attn, self.mlp = Attention(cfg), Mlp(cfg)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, cfg: dict):
        super().__init__()
        self.embed_tokens = nn.Embedding(cfg["vocab_size"], cfg["hidden_size"])
        self.layers = nn.ModuleList([Layer(cfg) for _ in range(cfg["num_hidden_layers"])])
        self.norm = Norm(cfg["hidden_size"])


class Base(nn.Module):
    def __init__(self, cfg: dict):
        super().__init__()
        self.cfg = cfg
        self.model = Decoder(cfg)
        cos, sin = rope_tables(cfg["max_position_embeddings"], cfg["head_dim"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def hidden(self, embeddings: Tensor) -> Tensor:
        """[B, T, C] embeddings (tokens' or a prompt's) to normalised last states [B, T, C]."""
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        cos, sin = self.cos[: embeddings.shape[1]].to(dtype), self.sin[: embeddings.shape[1]].to(dtype)
        length = embeddings.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1)
        x = embeddings
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        return self.model.norm(x)

    def embed(self, ids: Tensor) -> Tensor:
        return self.model.embed_tokens(ids)

    def logits(self, states: Tensor) -> Tensor:
        return F.linear(states, self.model.embed_tokens.weight)


def make_config(vocab: int, width: int, layers: int, hidden: int, bos: int, eos: int, pad: int) -> dict:
    """config.json of the base: head size 32, half as many KV heads as query heads."""
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab, "hidden_size": width,
        "intermediate_size": hidden, "num_hidden_layers": layers, "num_attention_heads": width // 32,
        "num_key_value_heads": width // 64, "head_dim": 32, "hidden_act": "silu", "rms_norm_eps": EPS,
        "rope_theta": THETA, "rope_scaling": None, "max_position_embeddings": 1024, "attention_bias": False,
        "mlp_bias": False, "tie_word_embeddings": True, "initializer_range": 0.02, "bos_token_id": bos,
        "eos_token_id": eos, "pad_token_id": pad, "torch_dtype": "bfloat16",
    }


def init_weights(model: Base) -> None:
    depth_scale = (2 * model.cfg["num_hidden_layers"]) ** -0.5
    for name, weight in model.named_parameters():
        if weight.dim() < 2:
            continue
        if name.endswith("embed_tokens.weight"):
            nn.init.normal_(weight, std=0.02)
        else:
            scale = depth_scale if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
            nn.init.normal_(weight, std=scale * weight.shape[1] ** -0.5)
    init_look_back(model)


@torch.no_grad()
def init_look_back(model: Base, constant: float = 0.5, sharpness: float = 20.0) -> None:
    """Lets half of the first layer's heads begin as "what stood 1, 2, 3, 4 tokens before".

    Copying from context, and binding an object to its subject a few tokens back, need such heads below the heads that
    match; a small model finds the second and later places late or never. All
    embeddings share one constant component (no logit difference comes of it); queries and keys of these heads read
    only that, with phases for which RoPE's score peaks at the wanted distance. Everything stays trainable.
    """
    embedding = model.model.embed_tokens.weight
    embedding[:, 0] = constant
    seen = constant / embedding.pow(2).mean(1).sqrt().mean()  # the component after the first norm
    attention = model.model.layers[0].self_attn
    half = attention.head_dim // 2
    frequencies = THETA ** (-torch.arange(half).float() / half)
    fast = (torch.arange(half) < 5).float()
    size = (sharpness * attention.head_dim**0.5) ** 0.5 / seen
    repeats = attention.heads // attention.kv_heads
    for group in range(attention.kv_heads // 2):
        key = attention.k_proj.weight.view(attention.kv_heads, attention.head_dim, -1)[group]
        key.zero_()
        key[:half, 0] = size * fast
        for i in range(repeats):
            distance = 1 + group * repeats + i
            query = attention.q_proj.weight.view(attention.heads, attention.head_dim, -1)[group * repeats + i]
            query.zero_()
            query[:half, 0] = size * fast * torch.cos(frequencies * distance)
            query[half:, 0] = -size * fast * torch.sin(frequencies * distance)


def save_base(model: Base, folder: pathlib.Path) -> None:
    """config.json and model.safetensors (bf16) in the Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    save_file(tensors, str(folder / "model.safetensors.tmp"), metadata={"format": "pt"})
    (folder / "model.safetensors.tmp").rename(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.cfg, indent=2) + "\n")


def load_base(folder: pathlib.Path) -> Base:
    model = Base(json.loads((folder / "config.json").read_text()))
    weights = {name: t.float() for name, t in load_file(str(folder / "model.safetensors")).items()}
    model.load_state_dict(weights)
    return model
