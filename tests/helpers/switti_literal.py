"""Switti's equations token by token: every attention an explicit sum over the tokens it sees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from varbench.models.protocol import Schedule
from varbench.models.switti.text import SwittiCondition
from varbench.models.switti.transformer import SwittiTransformer


def normed(x: Tensor) -> Tensor:
    """Layer norm without weights."""
    return (x - x.mean()) / (x.var(unbiased=False) + 1e-6).sqrt()


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean() + 1e-6).sqrt() * weight


def turned(x: Tensor, column: int, row: int, side: int) -> Tensor:
    """RoPE of one head by complex numbers; positions of every grid reach from 0 to 128."""
    stretch = 128 / max(1, side - 1)
    speeds = torch.tensor([10_000.0 ** (-4 * i / len(x)) for i in range(len(x) // 4)])
    angles = torch.cat([column * stretch * speeds, row * stretch * speeds])
    pairs = torch.view_as_complex(x.reshape(-1, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten()


def attend(queries: list[Tensor], keys: list[list[Tensor]], values: list[list[Tensor]]) -> Tensor:
    """One token's heads against the heads of every token it sees."""
    out = []
    for h, q in enumerate(queries):
        scores = torch.stack([q @ k[h] for k in keys]) / len(q) ** 0.5
        parts = [p * v[h] for p, v in zip(scores.softmax(0), values, strict=True)]
        out.append(torch.stack(parts).sum(0))
    return torch.cat(out)


@torch.no_grad()
def literal_logits(
    transformer: SwittiTransformer, text: SwittiCondition, inputs_Ld: Tensor, schedule: Schedule
) -> Tensor:
    """Teacher-forced logits ``[L, V]`` of one image for one prompt."""
    w, config = transformer.state_dict(), transformer.config

    def linear(name: str, x: Tensor) -> Tensor:
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", torch.tensor(0.0))

    def heads(x: Tensor) -> list[Tensor]:
        return list(x.chunk(config.heads))

    places = [
        (level, row, column, width)
        for level, (height, width) in enumerate(schedule.scales)
        for row in range(height)
        for column in range(width)
    ]
    pooled = linear("text_pooler", text.pooled[0])
    sizes = torch.tensor([512.0, 512.0, 0.0, 0.0])
    phases = sizes[:, None] * w["crop_embed.weight"] * 2 * torch.pi
    crop = linear("crop_proj", torch.cat([phases.sin(), phases.cos()], dim=1).flatten())
    hidden = [pooled + w["pos_start"][0, 0], *(linear("word_embed", x) for x in inputs_Ld)]
    hidden = [x + w["lvl_embed.weight"][p[0]] for x, p in zip(hidden, places, strict=True)]
    rows = text.rows[0][text.mask[0]]
    for number in range(config.depth):
        b = f"blocks.{number}."
        condition = F.silu(pooled + w[f"{b}crop_cond_scales"][0] * crop)
        gate1, gate2, scale1, scale2, shift1, shift2 = linear(f"{b}ada_lin.1", condition).chunk(6)
        queries, keys, values = [], [], []
        for x, (_, row, column, side) in zip(hidden, places, strict=True):
            h = rms(x, w[f"{b}self_attention_norm1.weight"]) * (1 + scale1) + shift1
            q, k, v = linear(f"{b}attn.to_qkv", h).chunk(3)
            queries.append([turned(part, column, row, side) for part in heads(normed(q))])
            keys.append([turned(part, column, row, side) for part in heads(normed(k))])
            values.append(heads(v))
        text_keys, text_values = [], []
        for r in rows:
            k, v = linear(f"{b}cross_attn.to_kv", rms(r, w[f"{b}attention_y_norm.weight"])).chunk(2)
            text_keys.append(heads(normed(k)))
            text_values.append(heads(v))
        for i, x in enumerate(list(hidden)):
            level = places[i][0]
            observed = [
                j for j, p in enumerate(places) if p[0] == level or (config.causal and p[0] < level)
            ]
            h = attend(queries[i], [keys[j] for j in observed], [values[j] for j in observed])
            x = x + gate1 * rms(linear(f"{b}attn.proj", h), w[f"{b}self_attention_norm2.weight"])
            q = normed(linear(f"{b}cross_attn.to_q", rms(x, w[f"{b}cross_attention_norm1.weight"])))
            h = linear(f"{b}cross_attn.proj", attend(heads(q), text_keys, text_values))
            x = x + rms(h, w[f"{b}cross_attention_norm2.weight"])
            h = rms(x, w[f"{b}ffn_norm1.weight"]) * (1 + scale2) + shift2
            h = F.silu(linear(f"{b}ffn.gate_proj", h)) * linear(f"{b}ffn.up_proj", h)
            h = rms(linear(f"{b}ffn.down_proj", h), w[f"{b}ffn_norm2.weight"])
            hidden[i] = x + gate2 * h
    scale, shift = linear("head_nm.ada_lin.1", F.silu(pooled)).chunk(2)
    return torch.stack([linear("head", normed(x) * (1 + scale) + shift) for x in hidden])
