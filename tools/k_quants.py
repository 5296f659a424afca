"""Blocks of Q4_K and Q6_K (layouts: docs/formats/gguf.md), which the gguf package reads but does
not write. Scales are the plain ones, of a group's least and largest values, without llama.cpp's search
for better ones: for tests and measurements of speed."""
import numpy as np


def divide(a, b):
    """a / b, 0 where b is."""
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape), np.float32),
                     where=b != 0)


def in_units(values):
    """Values [B, n] >= 0 in 6 bits each, of an f16 scale a block: scales, integers, products."""
    scale = (values.max(-1, keepdims=True) / 63).astype(np.float16)
    integers = np.clip(np.rint(divide(values, scale.astype(np.float32))), 0, 63)
    return scale, integers.astype(np.uint8), scale.astype(np.float32) * integers


def as_bytes(array):
    return array.view(np.uint8).reshape(len(array), -1)


def q4_k(values):
    groups = values.astype(np.float32).reshape(-1, 8, 32)
    least = np.maximum(-groups.min(-1), 0)
    d, s, scale = in_units((groups.max(-1) + least) / 15)
    m, t, minimum = in_units(least)
    q = divide(groups + minimum[..., None], scale[..., None])
    q = np.clip(np.rint(q), 0, 15).astype(np.uint8).reshape(-1, 4, 2, 32)
    packed = [s[:, :4] | (s[:, 4:] >> 4) << 6, t[:, :4] | (t[:, 4:] >> 4) << 6,
              (s[:, 4:] & 15) | (t[:, 4:] & 15) << 4]
    return np.concatenate([as_bytes(d), as_bytes(m), *packed,
                           (q[:, :, 0] | q[:, :, 1] << 4).reshape(-1, 128)], axis=1)


def q6_k(values):
    parts = values.astype(np.float32).reshape(-1, 16, 16)
    largest = np.abs(parts).max(-1)
    d = (largest.max(-1, keepdims=True) / 32 / 127).astype(np.float16)
    s = np.clip(np.rint(divide(largest / 32, d.astype(np.float32))), 0, 127).astype(np.int8)
    q = divide(parts, (d.astype(np.float32) * s)[..., None])
    q = (np.clip(np.rint(q), -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = (q[:, :, :2] & 15) | (q[:, :, 2:] & 15) << 4
    high = sum((q[:, :, run] >> 4) << (2 * run) for run in range(4))
    return np.concatenate([low.reshape(-1, 128), high.reshape(-1, 64), as_bytes(s), as_bytes(d)],
                          axis=1)


def quantise(values, kind):
    """Rows of blocks, uint8, of values [..., K], K a multiple of 256. kind: Q4_K or Q6_K."""
    blocks = {"Q4_K": q4_k, "Q6_K": q6_k}[kind](values)
    return blocks.reshape(*values.shape[:-1], -1)
