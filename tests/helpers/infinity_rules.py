"""The check of every tensor of a reference folder, or the reason to skip it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.infinity_folder import (
    CODES,
    EXACT,
    LOGITS,
    PIXELS,
    Folder,
    UnknownTensor,
    close,
)
from varbench.models.common.sampling import filter_probabilities, inputs_from_tokens
from varbench.models.infinity.attention import rope_tables
from varbench.models.infinity.quantiser import codes_from_bits, resize

Rule = str | Callable[..., None]
"""A check (folder, expected tensor, groups of the name's pattern), or why there is none."""


def _shape(get: Callable[[Folder], Sequence[int]]) -> Rule:
    """An input: only its shape can be wrong."""

    def rule(folder: Folder, expected: Tensor) -> None:
        assert list(expected.shape) == list(get(folder)), tuple(expected.shape)

    return rule


def _compact(kind: str) -> Rule:
    key = "text_lens" if kind == "text" else "negative_text_lens"
    return _shape(
        lambda f: [sum(f.config[key]), f.config["transformer"]["text_channels"]],
    )


def _cumulative(key: str) -> Rule:
    def rule(folder: Folder, expected: Tensor) -> None:
        lengths = torch.tensor([0, *folder.config[key]])
        close(lengths.cumsum(0), expected, EXACT)

    return rule


def _area(f: Folder, e: Tensor, scale: str) -> None:
    """The quantiser's own next inputs; nothing in varbench uses them, the sums behind them do."""
    grids, index = f.layout.grids, int(scale)
    parts = list(f.layout.schedule.slices())[: index + 1]
    bits = [f.layout.to_map(f.vae_bits.targets[:, part], k) for k, part in enumerate(parts)]
    total = torch.stack([resize(codes_from_bits(b), grids[-1]) for b in bits]).sum(0)
    close(F.adaptive_avg_pool2d(total, grids[index + 1]).unsqueeze(2), e, CODES)


def _flipped(f: Folder, e: Tensor, scale: str) -> None:
    h, w = f.layout.grids[int(scale)]
    features = f.get("bsc_io", "raw_features")
    assert tuple(e.shape) == (len(features), 1, h, w, features.shape[1])
    assert int(scale) < f.config["bsc"]["noise_apply_layers"]
    assert int(e.max()) <= 1


def _targets(noisy: bool) -> Rule:
    def rule(f: Folder, e: Tensor, scale: str) -> None:
        part = list(f.layout.schedule.slices())[int(scale)]
        close((f.bsc_noisy if noisy else f.bsc_clean).targets[:, part], e, EXACT)

    return rule


def _teacher_inputs(f: Folder, e: Tensor) -> None:
    close(f.bsc_noisy.inputs, e, CODES)
    close(f.get("train_io", "x_BLC_wo_prefix"), e, CODES)


def _rope(index: int) -> Rule:
    def rule(f: Folder, e: Tensor) -> None:
        config = f.model.transformer.config
        close(rope_tables(f.layout.schedule, config.width // config.heads)[index], e, 1e-6)
        close(f.model.transformer.positions(f.layout.schedule)[1 + index], e, 1e-6)

    return rule


def _memory(f: Folder, e: Tensor) -> None:
    rows = f.text.memory_BTD[f.text.mask_BT]
    first = f.config["text_lens"][0]
    close(rows[:first] if len(e) == first else rows, e, LOGITS)


def _block(f: Folder, e: Tensor, place: str) -> None:
    close(f.block0[place][:, : e.shape[1]], e, LOGITS, sample0=True)


def _run_bits(f: Folder, e: Tensor, run: str, scale: str) -> None:
    close(f.stored_map(f.greedy(run)[0].tokens, int(scale)), e, EXACT)


def _run_logits(f: Folder, e: Tensor, run: str, scale: str) -> None:
    close(f.greedy(run)[1][int(scale)].flatten(2), e, LOGITS)


def _run_input(f: Folder, e: Tensor, run: str, scale: str) -> None:
    rollout, _ = f.greedy(run)
    rows = list(f.layout.schedule.slices())[int(scale)]
    close(rollout.inputs[:, rows.start - 1 : rows.stop - 1], e, CODES)


def _run_codes(f: Folder, e: Tensor, run: str) -> None:
    close(inputs_from_tokens(f.greedy(run)[0].tokens, f.model.code_sum())[1], e, CODES)


def _run_image(f: Folder, e: Tensor, run: str) -> None:
    if run not in f.images:
        rgb = (f.model.decode(f.greedy(run)[0].select([0])) * 255).to(torch.uint8)
        f.images[run] = rgb.permute(0, 2, 3, 1).flip(-1)
    close(f.images[run], e[:1], 1.0)


def _two_classes(f: Folder, e: Tensor) -> None:
    assert e.shape[-1] == 2, tuple(e.shape)


def _filter(f: Folder, e: Tensor, top_p: str | None, top_k: str | None) -> None:
    p = float(f"{top_p[0]}.{top_p[1:] or 0}") if top_p else 0.0
    probabilities = filter_probabilities(f.get("ar_io", "filter.logits"), int(top_k or 0), p)
    close(probabilities, e, 1e-6)


RULES: dict[str, list[tuple[str, Rule]]] = {
    "vae_io": [
        (r"image_u8", _shape(lambda f: [len(f.get("vae_io", "latent")), 3, *f.config["image_hw"]])),
        (r"latent", lambda f, e: close(f.encoded, e, PIXELS)),
        (r"bits\.(\d+)", lambda f, e, k: close(f.stored_map(f.vae_bits.targets, int(k)), e, EXACT)),
        (r"quantized", lambda f, e: close(f.vae_bits.codes, e, CODES)),
        (r"decoded_raw", lambda f, e: close(f.decoded, e, PIXELS, sample0=True)),
        (r"area_next_input\.(\d+)", _area),
    ],
    "bsc_io": [
        (
            r"raw_features",
            _shape(
                lambda f: [
                    len(f.get("bsc_io", "x_clean")),
                    f.config["vae"]["codebook_dim"],
                    *f.layout.grids[-1],
                ]
            ),
        ),
        (r"flipped_bits\.(\d+)", _flipped),
        (r"gt_clean\.(\d+)", _targets(noisy=False)),
        (r"gt_noisy\.(\d+)", _targets(noisy=True)),
        (r"x_clean", lambda f, e: close(f.bsc_clean.inputs, e, CODES)),
        (r"x_noisy", _teacher_inputs),
    ],
    "train_io": [
        (r"text_kv_compact", _compact("text")),
        (r"neg_kv_compact", _compact("neg")),
        (r"text_cu_seqlens", _cumulative("text_lens")),
        (r"neg_cu_seqlens", _cumulative("negative_text_lens")),
        (r"x_BLC_wo_prefix", lambda f, e: close(f.bsc_noisy.inputs, e, CODES)),
        (r"logits", lambda f, e: close(f.block0["logits"], e, LOGITS)),
        (r"logits_uncond", lambda f, e: close(f.logits_uncond, e, LOGITS)),
        (r"mid\.rope_cos", _rope(0)),
        (r"mid\.rope_sin", _rope(1)),
        (r"mid\.text_for_ca", _memory),
        (r"mid\.cond_BD", lambda f, e: close(f.text.pooled, e, LOGITS, sample0=True)),
        (r"mid\.gss", lambda f, e: close(f.text.ada_B16D, e, LOGITS, sample0=True)),
        (r"mid\.block0_(in|sa_out|ca_out|out)", _block),
        (r"variant\.logits_rope2", lambda f, e: close(f.block0["logits"], e, LOGITS, sample0=True)),
        (r"variant\.logits_rope[01]", "RoPE modes 0 and 1: no released model uses them"),
        (r"variant\.logits_lvl_every_chunk", "level embedding in every chunk: no released model"),
        (r"variant\.logits_cross_attn_bf16", "bfloat16 cross-attention in a float32 model"),
    ],
    "ar_io": [
        (r"(ar|ar_neg)\.bits\.(\d+)", _run_bits),
        (r"(ar|ar_neg)\.logits\.(\d+)", _run_logits),
        (r"(ar|ar_neg)\.next_input\.(\d+)", _run_input),
        (r"(ar|ar_neg)\.summed_codes", _run_codes),
        (r"(ar|ar_neg)\.image_bgr_u8", _run_image),
        (r"ar_sampled\..+", "torch.multinomial's random stream: varbench draws keyed numbers"),
        (r"filter\.logits", _two_classes),
        (r"filter\.(?:p(\d+))?_?(?:k(\d+))?\.probs", _filter),
    ],
}
"""Per file: name pattern and what to do; the first full match counts. Strings are skip reasons."""

INPUTS = re.compile(r"image_u8|raw_features|flipped_bits\..*|\w+_kv_compact|filter\.logits")
"""Tensors that are fed in and have nothing to be compared with."""


def find_rule(file: str, name: str) -> tuple[Rule, re.Match[str]]:
    """The rule for a tensor name.

    Raises:
        UnknownTensor: there is none.
    """
    for pattern, rule in RULES[file]:
        if match := re.fullmatch(pattern, name):
            return rule, match
    raise UnknownTensor(f"{file}: nothing checks {name!r} and no unsupported option explains it")


def required(folder: Folder) -> set[tuple[str, str]]:
    """Names without which a folder would pass because it says nothing."""
    scales = range(len(folder.config["scale_schedule"]))
    names = [("train_io", n) for n in ("logits", "logits_uncond", "x_BLC_wo_prefix")]
    names += [("train_io", f"mid.{n}") for n in ("rope_cos", "rope_sin", "text_for_ca", "cond_BD")]
    names += [("vae_io", n) for n in ("latent", "quantized", "decoded_raw")]
    names += [("bsc_io", n) for n in ("x_clean", "x_noisy")]
    names += [("ar_io", "ar.summed_codes"), ("ar_io", "ar.image_bgr_u8")]
    for k in scales:
        names += [("vae_io", f"bits.{k}"), ("bsc_io", f"gt_noisy.{k}"), ("ar_io", f"ar.bits.{k}")]
    return set(names)
