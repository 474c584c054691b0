"""A second reference folder of another shape, written one sample at a time with literal loops."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from tests.helpers.guidance import Traced
from tests.helpers.infinity_tiny import randomise
from varbench.models.common.sampling import ClassifierFreeGuidance
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.schedules import schedule_for
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Rollout, Sampling


@dataclass(frozen=True)
class Shape:
    """Layout of the generated folder."""

    ratio: float = 0.666
    depth: int = 3
    width: int = 96
    heads: int = 6
    bits: int = 5
    text_width: int = 384
    text_maxlen: int = 12
    lengths: tuple[int, ...] = (9, 4)
    negative: tuple[int, ...] = (3, 6)
    seed: int = 4  # of several tried: no greedy logit difference below 1.6e-4


SHAPE = Shape()
CFG = [3.0, 2.0, 1.0, 4.0, 3.0, 2.0, 3.5]
TAU = [1.0, 0.5, 0.5, 0.8, 1.0, 0.7, 0.5]


def fold(x: Tensor) -> Tensor:
    """Patchify by the book: channel = c * 4 + dy * 2 + dx."""
    batch, depth, height, width = x.shape
    out = torch.empty(batch, 4 * depth, height // 2, width // 2, dtype=x.dtype)
    for c in range(depth):
        for dy in range(2):
            for dx in range(2):
                out[:, c * 4 + dy * 2 + dx] = x[:, c, dy::2, dx::2]
    return out


def unfold(x: Tensor) -> Tensor:
    """The inverse of :func:`fold`, by the book."""
    batch, depth, height, width = x.shape
    out = torch.empty(batch, depth // 4, 2 * height, 2 * width, dtype=x.dtype)
    for c in range(depth):
        out[:, c // 4, (c % 4) // 2 :: 2, c % 2 :: 2] = x[:, c]
    return out


def rows(maps: Tensor) -> Tensor:
    """``[B, c, h, w]`` -> ``[B, h * w, c]``, row after row."""
    h, w = maps.shape[-2:]
    return torch.stack([maps[:, :, i, j] for i in range(h) for j in range(w)], dim=1)


def literal_quantise(
    latent: Tensor, grids: Sequence[tuple[int, int]], rates: Sequence[float], seed: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor, list[Tensor]]:
    """Section 5 and 7 of the specification: targets, accumulated bits, next inputs, sum, area."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(latent)
    truths, used, inputs, area = [], [], [], []
    for scale, grid in enumerate(grids):
        residual = F.interpolate((latent - total), size=grid, mode="area")
        truth = (residual > 0).to(torch.uint8)
        flip = torch.rand(truth.shape, generator=generator) < rates[scale]
        bits = truth ^ flip.to(torch.uint8)
        code = (2 * bits.float() - 1) / np.sqrt(latent.shape[1])
        code = F.interpolate(code[:, :, None], size=(1, *grids[-1]), mode="trilinear")[:, :, 0]
        total = total + code
        truths.append(truth)
        used.append(bits)
        if scale + 1 < len(grids):
            size = grids[scale + 1]
            inputs.append(F.interpolate(total[:, :, None], (1, *size), mode="trilinear")[:, :, 0])
            area.append(F.interpolate(total, size, mode="area")[:, :, None])
    return truths, used, inputs, total, area


def stored(bits: Tensor) -> Tensor:
    return bits.permute(0, 2, 3, 1)[:, None].contiguous()


def upstream_names(transformer: InfinityTransformer) -> dict[str, Tensor]:
    """As one chunk: ``blocks.N``, with the zero buffers that upstream keeps."""
    out = {k: v.clone() for k, v in transformer.state_dict().items()}
    for k in [k for k in out if k.endswith(".v_bias")]:
        out[k.replace("v_bias", "zero_k_bias")] = torch.zeros_like(out[k])
    return out


@torch.no_grad()
def write_folder(path: Path, shape: Shape = SHAPE) -> None:
    """Write a folder like the reference set; every sample runs alone, its text unpadded."""
    torch.manual_seed(shape.seed)
    config = TransformerConfig(
        shape.width,
        shape.depth,
        shape.heads,
        4 * shape.bits,
        shape.text_width,
        shape.text_maxlen,
        patchify=True,
    )
    transformer = randomise(InfinityTransformer(config), shape.seed)
    vae = BSQVAE(TokenizerConfig(shape.bits, 24, (1, 1, 1, 2), 1)).requires_grad_(False)
    schedule = schedule_for("0.06M", shape.ratio)
    model = InfinityModel("generated", transformer, vae, None, schedule, Sampling())
    grids = [(2 * h, 2 * w) for h, w in schedule.scales]
    side = (8 * grids[-1][0], 8 * grids[-1][1])
    batch = len(shape.lengths)

    image = torch.randint(0, 256, (batch, 3, side[0] // 32, side[1] // 32)).float()
    image = F.interpolate(image, side, mode="nearest").to(torch.uint8)
    latent = torch.cat([vae.encode(p[None].float() / 127.5 - 1) for p in image])
    truths, _, _, total, area = literal_quantise(latent, grids, [0.0] * 7, 0)
    vae_io = {"image_u8": image, "latent": latent, "quantized": total}
    vae_io["decoded_raw"] = torch.cat([vae.decoder(t[None]) for t in total])[:1]
    vae_io |= {f"bits.{k}": stored(t) for k, t in enumerate(truths)}
    vae_io |= {f"area_next_input.{k}": t for k, t in enumerate(area)}

    features = torch.randn(latent.shape)
    rates = [0.3, 0.0, 0.1, 0.2, 0.0, 0.3, 0.0]
    clean, _, clean_inputs, _, _ = literal_quantise(features, grids, [0.0] * 7, 0)
    noisy, used, noisy_inputs, _, _ = literal_quantise(features, grids, rates, 1)
    bsc_io = {"raw_features": features}
    bsc_io["x_clean"] = torch.cat([rows(fold(x)) for x in clean_inputs], dim=1)
    bsc_io["x_noisy"] = torch.cat([rows(fold(x)) for x in noisy_inputs], dim=1)
    for k, rate in enumerate(rates):
        bsc_io[f"gt_clean.{k}"] = rows(fold(clean[k]))
        bsc_io[f"gt_noisy.{k}"] = rows(fold(noisy[k]))
        if rate:
            bsc_io[f"flipped_bits.{k}"] = stored(used[k])

    text = torch.randn(sum(shape.lengths), shape.text_width)
    negative = torch.randn(sum(shape.negative), shape.text_width)
    x = bsc_io["x_noisy"]
    train_io = {"text_kv_compact": text, "neg_kv_compact": negative, "x_BLC_wo_prefix": x}
    for kind, lengths in (("text", shape.lengths), ("neg", shape.negative)):
        train_io[f"{kind}_cu_seqlens"] = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    logits, uncond, memory, pooled, ada = [], [], [], [], []
    runs: dict[str, list[tuple[Rollout, Any]]] = {"ar": [], "ar_neg": []}
    split = zip(text.split(shape.lengths), negative.split(shape.negative), strict=True)
    for i, (query, against) in enumerate(split):
        condition = TextCondition.padded([query], len(query))
        state = model.read(condition)
        rollout = Rollout(torch.zeros(1, 0), x[i : i + 1], schedule)
        logits.append(model.logits(rollout, condition).flatten(2))
        uncond.append(model.logits(rollout, model.null(condition)).flatten(2))
        memory.append(state.memory_BTD[0])
        pooled.append(state.pooled)
        ada.append(state.ada_B16D)
        longest = max(len(query), len(against))
        condition = TextCondition.padded([query], longest)
        other = TextCondition.padded([against], longest)
        for run, second in (("ar", model.null(condition)), ("ar_neg", other)):
            guidance = Traced(ClassifierFreeGuidance(CFG), second, TAU)
            greedy = Sampling(top_k=1, top_p=0.0)
            key = [("key", i)]
            made = model.generate(condition, key, sampling=greedy, guidance=guidance)
            runs[run].append((made, guidance.kept))
    train_io |= {"logits": torch.cat(logits), "logits_uncond": torch.cat(uncond)}
    train_io |= {"mid.text_for_ca": torch.cat(memory), "mid.cond_BD": torch.cat(pooled)}
    train_io["mid.gss"] = ada[0]  # sample 0 only
    cos, sin, *_ = transformer.positions(schedule)[1:]
    train_io |= {"mid.rope_cos": cos.clone(), "mid.rope_sin": sin.clone()}
    first = pooled[0][:, None] + transformer.pos_start
    start = torch.cat([first, transformer.word_embed(x[:1])], dim=1)
    levels = [k for k, n in enumerate(schedule.lengths) for _ in range(n)]
    train_io["mid.block0_in"] = (start + transformer.lvl_embed.weight[levels])[:, :40].clone()
    train_io["variant.logits_rope0"] = torch.zeros(1, schedule.total, 8 * shape.bits)

    ar_io: dict[str, Tensor] = {}
    for run, made in runs.items():
        for k, part in enumerate(schedule.slices()):
            h, w = schedule.scales[k]
            tokens = torch.cat([r.tokens[:, part] for r, _ in made])
            maps = unfold(tokens.transpose(1, 2).reshape(batch, -1, h, w))
            ar_io[f"{run}.bits.{k}"] = stored(maps)
            ar_io[f"{run}.logits.{k}"] = torch.cat([t[k].flatten(2) for _, t in made])
        codes, following = torch.zeros_like(latent), []
        for k in range(len(grids)):
            code = 2 * ar_io[f"{run}.bits.{k}"][:, 0].permute(0, 3, 1, 2).float() - 1
            codes = codes + F.interpolate(code / np.sqrt(shape.bits), grids[-1], mode="bilinear")
            following.append(codes)
        for k, grid in enumerate(grids[1:], start=1):
            resized = F.interpolate(following[k - 1], grid, mode="bilinear")
            ar_io[f"{run}.next_input.{k}"] = rows(fold(resized))
        ar_io[f"{run}.summed_codes"] = codes
    decoded = vae.decoder(ar_io["ar.summed_codes"][:1]).clamp(-1, 1)
    pixels = ((decoded + 1) / 2 * 255).to(torch.uint8)
    ar_io["ar.image_bgr_u8"] = pixels[:, [2, 1, 0]].permute(0, 2, 3, 1).contiguous()
    ar_io["ar_sampled.bits.0"] = ar_io["ar.bits.0"].clone()
    two = torch.randn(1, 64, 2)
    ar_io["filter.logits"] = two
    keep = two.softmax(-1)
    keep = torch.where((keep <= 0.1) & (keep < 0.5), torch.zeros(()), keep)
    ar_io["filter.p09.probs"] = keep / keep.sum(-1, keepdim=True)

    path.mkdir()
    given = {
        "embed_dim": shape.width,
        "depth": shape.depth,
        "num_heads": shape.heads,
        "block_chunks": 1,
        "mlp_ratio": 4.0,
        "text_channels": shape.text_width,
        "text_maxlen": shape.text_maxlen,
        "pn": "0.06M",
        "h_div_w": shape.ratio,
        "rope2d_normalized_by_hw": 2,
        "add_lvl_embeding_only_first_block": 1,
        "apply_spatial_patchify": 1,
        "d_vae": 4 * shape.bits,  # as upstream counts it with patchify
        "logits_width": 8 * shape.bits,
    }
    settings = {"cfg_list": CFG, "tau_list": TAU, "cfg_insertion_layer": [0]}
    settings |= {"top_k": 1, "top_p": 0.0}
    whole = {
        "transformer": given,
        "vae": {
            "codebook_dim": shape.bits,
            "patch_size": 8,
            "ch_mult": [1, 1, 1, 2],
            "base_ch": 24,
            "num_res_blocks": 1,
        },
        "scale_schedule": [[1, h, w] for h, w in schedule.scales],
        "vae_scale_schedule": [[1, h, w] for h, w in grids],
        "text_lens": shape.lengths,
        "negative_text_lens": shape.negative,
        "ar": settings,
        "ar_neg": settings,
        "bsc": {"noise_apply_layers": 13, "noise_apply_requant": 1},
        "image_hw": side,
    }
    (path / "config.json").write_text(json.dumps(whole))
    files = {"transformer": upstream_names(transformer), "vae": vae.state_dict()}
    files |= {"vae_io": vae_io, "bsc_io": bsc_io, "train_io": train_io, "ar_io": ar_io}
    for name, tensors in files.items():
        packed = {k: v.contiguous() for k, v in tensors.items()}
        save_file(packed, path / f"{name}.safetensors")
