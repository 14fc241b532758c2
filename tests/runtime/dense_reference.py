"""The plain decoder written out naively in float64: whole score matrices, positions built pair by pair, nothing cached, nothing merged."""

from collections.abc import Sequence
from math import log, sqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ullage.domain.architecture import DualChunk


def turned(heads: Tensor, positions: Tensor, theta: float) -> Tensor:
    """(heads, n, dim) turned to (n,) positions, halves paired."""
    dim = heads.shape[-1]
    angles = torch.outer(positions.double(), theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim))
    cos, sin = angles.cos(), angles.sin()
    first, second = heads.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def scores(query: Tensor, key: Tensor, theta: float, dual: DualChunk | None) -> Tensor:
    """(heads, n, n) of queries and keys that nothing has turned yet: of three matrices, each pair takes the one of its chunks."""
    at = torch.arange(query.shape[1])
    if dual is None:
        return turned(query, at, theta) @ turned(key, at, theta).mT
    step, reach = dual.chunk_tokens - dual.local_tokens, dual.chunk_tokens
    keys = turned(key, at % step, theta)
    same = turned(query, at % step, theta) @ keys.mT
    next_ = turned(query, (at % step + step).clamp(max=reach), theta) @ keys.mT
    far = turned(query, torch.full_like(at, min(2 * step - 1, reach)), theta) @ keys.mT
    apart = (at[:, None] // step) - (at[None] // step)
    return torch.where(apart == 0, same, torch.where(apart == 1, next_, far))


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    logits: Tensor,
    *,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """(heads, n, dim) in float64; ``logits`` are scaled, ``sinks`` (heads,) is one more logit that gives nothing."""
    rows = torch.arange(query.shape[1])
    hidden = rows[None] > rows[:, None]
    if window is not None:
        hidden = hidden | (rows[None] <= rows[:, None] - window)
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    logits = logits.masked_fill(hidden, float("-inf"))
    if sinks is not None:
        logits = torch.cat((logits, sinks.double()[:, None, None].expand(-1, len(rows), 1)), -1)
    return torch.softmax(logits, -1)[..., : key.shape[1]] @ value


def logits(
    config: dict[str, Any], tensors: dict[str, Tensor], tokens: Sequence[int], *, dual: DualChunk | None, lengths: Sequence[int]
) -> Tensor:
    """(n, vocabulary) of a model in Llama's shape; ``lengths`` is the length that each token's scores are sharpened by."""
    weights = {name: tensor.double() for name, tensor in tensors.items()}
    original = dual.original_max_tokens if dual else 0
    sharpness = torch.tensor([max(1.0, 0.1 * log(length / original) + 1) ** 2 if original else 1.0 for length in lengths]).double()
    hidden = weights["model.embed_tokens.weight"][list(tokens)]
    for layer in range(config["num_hidden_layers"]):
        own = {name.removeprefix(f"model.layers.{layer}."): value for name, value in weights.items() if f".layers.{layer}." in name}
        hidden = hidden + _attended(config, own, _norm(hidden, own["input_layernorm.weight"], config), dual, sharpness)
        read = _norm(hidden, own["post_attention_layernorm.weight"], config)
        gate, up = read @ own["mlp.gate_proj.weight"].T, read @ own["mlp.up_proj.weight"].T
        hidden = hidden + (functional.silu(gate) * up) @ own["mlp.down_proj.weight"].T
    return _norm(hidden, weights["model.norm.weight"], config) @ weights["lm_head.weight"].T


def _norm(x: Tensor, weight: Tensor, config: dict[str, Any]) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]).sqrt() * weight


def _attended(config: dict[str, Any], own: dict[str, Tensor], read: Tensor, dual: DualChunk | None, sharpness: Tensor) -> Tensor:
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim", config["hidden_size"] // heads)

    def projected(letter: str, count: int) -> Tensor:
        bias = own.get(f"self_attn.{letter}_proj.bias", torch.zeros(1).double())
        return (read @ own[f"self_attn.{letter}_proj.weight"].T + bias).view(-1, count, dim).transpose(0, 1)

    query, key, value = projected("q", heads), projected("k", kv_heads), projected("v", kv_heads)
    key, value = (part.repeat_interleave(heads // kv_heads, 0) for part in (key, value))
    scaled = scores(query, key, config["rope_theta"], dual) / sqrt(dim) * sharpness[:, None]
    return attention(query, key, value, scaled).transpose(0, 1).flatten(1) @ own["self_attn.o_proj.weight"].T
