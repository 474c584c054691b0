"""Infinity's sampling, step by step as its paper and released code do it: one image at a time.

The measure that ``sampling.py`` compares the library with, and plain on purpose: text keys and
values are computed again at every scale, the cache grows by concatenation, AdaLN vectors are added
up in every block, the decoder runs one image. It reads the weights of a library model by name
and shares nothing with the library but RoPE tables and keyed random numbers, so that both must
draw the same bits. Shapes in names: R branches (prompt, null), l tokens of a scale, n text rows,
C text width, D width, H heads, d bits per token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from varbench.models.common.keyed_random import uniforms
from varbench.models.infinity.attention import rope_tables
from varbench.models.infinity.model import InfinityModel
from varbench.models.protocol import Sampling

EPS = 1e-6
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Drawn:
    """One image ``[1, 3, H, W]`` in [0, 1] and its bits ``[1, L, d]``, scale after scale."""

    image: Tensor
    bits: Tensor


class Literal:
    """The loop over a model's own weights.

    Args:
        model: whose weights, sizes and schedule are used.
        bf16: run the blocks in bfloat16 autocast, as the released code does; else all in float32.
    """

    def __init__(self, model: InfinityModel, bf16: bool = False) -> None:
        keep = (lambda t: t) if bf16 else (lambda t: t.float())
        self.w: Weights = {k: keep(v) for k, v in model.transformer.state_dict().items()}
        self.decoder: Weights = dict(model.tokenizer.decoder.state_dict())
        self.config, self.sizes = model.transformer.config, model.tokenizer.config
        self.schedule, self.bf16 = model.schedule, bf16
        self.device = model.device
        tables = rope_tables(self.schedule, self.config.width // self.config.heads)
        self.cos, self.sin = (t.to(self.device) for t in tables)

    @torch.no_grad()
    def draw(self, rows_nC: Tensor, key: tuple[str, int], sampling: Sampling) -> Drawn:
        """Sample one image from its text rows (encoder output, no padding)."""
        branches = [rows_nC]
        if sampling.guidance != 1:
            branches.append(self.w["cfg_uncond"][: len(rows_nC)])
        rows = rms_norm(torch.stack(branches), self.w["text_norm.weight"])
        pooled_RD, memory_RnD = self.pool(rows), self.project(rows)
        ada_R16D = self.linear(F.silu(pooled_RD), "shared_ada_lin.1").view(
            len(branches), 1, 6, self.config.width
        )
        cache: list[list[Tensor]] = [[] for _ in range(self.config.depth)]
        grids = [self.fine(grid) for grid in self.schedule.scales]
        x = pooled_RD[:, None] + self.w["pos_start"]
        total, drawn, start = None, [], 0
        for scale, (h, w) in enumerate(self.schedule.scales):
            x = x + self.w["lvl_embed.weight"][scale]
            for block in range(self.config.depth):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                    x = self.block(block, x, memory_RnD, ada_R16D, cache[block], start)
            logits = self.read_out(x, pooled_RD)
            if len(logits) == 2:
                weight = sampling.guidance
                logits = weight * logits[:1] + (1 - weight) * logits[1:]
            logits = (logits / sampling.temperature).unflatten(-1, (-1, 2))
            chances = filtered(logits, sampling.top_k, sampling.top_p)
            numbers = uniforms([key], scale, h * w, self.config.bits, self.device)
            bits = (numbers < chances[..., 1]).to(torch.uint8)
            drawn.append(bits)
            code = bits.transpose(1, 2).reshape(1, -1, h, w).float()
            if self.config.patchify:
                code = F.pixel_shuffle(code, 2)
            code = (2 * code - 1) / math.sqrt(code.shape[1])
            code = interpolate(code, grids[-1])
            total = code if total is None else total + code
            if scale + 1 < len(grids):
                x = interpolate(total, grids[scale + 1])
                if self.config.patchify:
                    x = F.pixel_unshuffle(x, 2)
                x = self.linear(x.flatten(2).transpose(1, 2), "word_embed")
                x = x.repeat(len(branches), 1, 1)
            start += h * w
        assert total is not None
        return Drawn(self.decode(total).clamp(-1, 1) / 2 + 0.5, torch.cat(drawn, dim=1))

    def fine(self, grid: tuple[int, int]) -> tuple[int, int]:
        """The tokenizer's grid under a grid of tokens."""
        return (2 * grid[0], 2 * grid[1]) if self.config.patchify else grid

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def pool(self, rows_RnC: Tensor) -> Tensor:
        name, heads = "text_proj_for_sos.ca", self.config.pool_heads
        k, v = self.linear(rows_RnC, f"{name}.mat_kv").chunk(2, dim=-1)
        v = v + self.w[f"{name}.v_bias"]
        q = self.w[f"{name}.mat_q"].expand(len(rows_RnC), -1, -1).flatten(1)[:, None]
        return self.linear(attend(q, k, v, heads), f"{name}.proj")[:, 0]

    def project(self, rows_RnC: Tensor) -> Tensor:
        hidden = F.gelu(self.linear(rows_RnC, "text_proj_for_ca.0"), approximate="tanh")
        return self.linear(hidden, "text_proj_for_ca.2")

    def block(
        self,
        block: int,
        x: Tensor,
        memory_RnD: Tensor,
        ada_R16D: Tensor,
        cache: list[Tensor],
        start: int,
    ) -> Tensor:
        b, width, heads = f"blocks.{block}", (self.config.width,), self.config.heads
        vectors = (self.w[f"{b}.ada_gss"] + ada_R16D).unbind(2)
        gate1, gate2, scale1, scale2, shift1, shift2 = vectors

        y = F.layer_norm(x, width, eps=EPS) * (1 + scale1) + shift1
        q, k, v = self.linear(y, f"{b}.sa.mat_qkv").chunk(3, dim=-1)
        q, v = q + self.w[f"{b}.sa.q_bias"], v + self.w[f"{b}.sa.v_bias"]
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        factor = self.w[f"{b}.sa.scale_mul_1H11"].clamp(max=math.log(100)).exp()
        q = self.turn(F.normalize(q.float(), dim=-1) * factor, start).to(v.dtype)
        k = self.turn(F.normalize(k.float(), dim=-1), start).to(v.dtype)
        cache[:] = [torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)] if cache else [k, v]
        y = F.scaled_dot_product_attention(q, *cache, scale=1.0).transpose(1, 2).flatten(2)
        x = x + gate1 * self.linear(y, f"{b}.sa.proj")

        norm = self.w[f"{b}.ca_norm.weight"].float(), self.w[f"{b}.ca_norm.bias"].float()
        y = F.layer_norm(x, width, *norm, eps=EPS)
        k, v = self.linear(memory_RnD, f"{b}.ca.mat_kv").chunk(2, dim=-1)
        y = attend(self.linear(y, f"{b}.ca.mat_q"), k, v + self.w[f"{b}.ca.v_bias"], heads)
        x = x + self.linear(y, f"{b}.ca.proj")

        y = F.layer_norm(x, width, eps=EPS) * (1 + scale2) + shift2
        y = F.gelu(self.linear(y, f"{b}.ffn.fc1"), approximate="tanh")
        return x + gate2 * self.linear(y, f"{b}.ffn.fc2")

    def turn(self, x_RHlc: Tensor, start: int) -> Tensor:
        cos, sin = (t[start : start + x_RHlc.shape[2]] for t in (self.cos, self.sin))
        a, b = x_RHlc[..., 0::2], x_RHlc[..., 1::2]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)

    def read_out(self, x: Tensor, pooled_RD: Tensor) -> Tensor:
        x = F.layer_norm(x.float(), (self.config.width,), eps=EPS)
        scale, shift = self.linear(F.silu(pooled_RD), "head_nm.ada_lin.1")[:, None].chunk(2, -1)
        return self.linear(x * (1 + scale) + shift, "head")

    def decode(self, codes: Tensor) -> Tensor:
        """Summed codes ``[1, d, h, w]`` -> image, not yet clamped."""
        levels = len(self.sizes.width_multipliers)
        x = self.conv(codes, "conv_in")
        for name in ("mid.block_1", "mid.block_2"):
            x = self.res_block(x, name)
        for level in reversed(range(levels)):
            for block in range(self.sizes.encoder_blocks + 1):
                x = self.res_block(x, f"up.{level}.block.{block}")
            if level:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
                x = self.conv(x, f"up.{level}.upsample.conv")
        x = self.conv(F.silu(self.group_norm(x, "norm_out")), "conv_out")
        return F.pixel_shuffle(x, self.sizes.pixel_unshuffle)

    def res_block(self, x: Tensor, name: str) -> Tensor:
        h = self.conv(F.silu(self.group_norm(x, f"{name}.norm1")), f"{name}.conv1")
        h = self.conv(F.silu(self.group_norm(h, f"{name}.norm2")), f"{name}.conv2")
        changed = f"{name}.nin_shortcut.weight" in self.decoder
        return h + (self.conv(x, f"{name}.nin_shortcut") if changed else x)

    def conv(self, x: Tensor, name: str) -> Tensor:
        weight = self.decoder[f"{name}.weight"]
        return F.conv2d(x, weight, self.decoder[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def group_norm(self, x: Tensor, name: str) -> Tensor:
        groups = 32 if x.shape[1] % 32 == 0 else 24
        weight, bias = self.decoder[f"{name}.weight"], self.decoder[f"{name}.bias"]
        return F.group_norm(x, groups, weight, bias, eps=EPS)


def attend(q_RlD: Tensor, k_RnD: Tensor, v_RnD: Tensor, heads: int) -> Tensor:
    """Plain attention over text rows."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q_RlD, k_RnD, v_RnD))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Divide by the root of the mean square."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * weight


def interpolate(x: Tensor, size: Sequence[int]) -> Tensor:
    """Trilinear with one frame, as the quantiser does it."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x[:, :, None], (1, *size), mode="trilinear")[:, :, 0]


def filtered(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Probabilities of the two values of every bit after top-k and top-p."""
    if top_k == 1:
        logits = logits.masked_fill(logits < logits.amax(-1, keepdim=True), -math.inf)
    if 0 < top_p < 1:
        ordered, order = logits.sort(dim=-1)
        drop = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
        drop[..., -1] = False
        logits = logits.masked_fill(drop.scatter(-1, order, drop), -math.inf)
    return logits.softmax(-1)
