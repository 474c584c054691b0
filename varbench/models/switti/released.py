"""The four released Switti models: figures, files, and strict loading from a local folder.

Stated by the public code: every size, name and rule here. Inferred: that all four use the crop
condition, RoPE and SwiGLU (defaults of the code; the byte counts of three of the hub's
``config.json`` fit them), and that the one tokenizer serves each model at the model's own grids.
The released weights were never loaded by varbench.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from varbench.errors import CheckpointError, unknown
from varbench.models.base import Sampling, Schedule
from varbench.models.infinity.checkpoint import load_strict, read_tensors
from varbench.models.switti.config import TokenizerConfig, TransformerConfig
from varbench.models.switti.model import SwittiModel
from varbench.models.switti.text import CLIPPair
from varbench.models.switti.tokenizer import VQVAE
from varbench.models.switti.transformer import SwittiTransformer

TOKENIZER = "yresearch/VQVAE-Switti"
ENCODERS = ("openai/clip-vit-large-patch14", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k")
WEIGHTS = "model.safetensors"
MASK = "attn_bias_for_masking"
UNREAD = ("encoder.", "quant_conv.", "quantize.ema_vocab_hit_SV")
"""Beginnings of tokenizer tensors that generation does not need."""

SAMPLING = Sampling(guidance=7.0, temperature=1.0, top_k=400, top_p=0.95)
"""Defaults of the public pipeline (its ``cfg`` is 6). Its Gumbel-softmax blend of codes, its
unguided last scales and their temperature are left out: those samples are not tokens, or the
settings are not in :class:`Sampling`."""


def _square(*sides: int) -> Schedule:
    return Schedule(tuple((side, side) for side in sides))


@dataclass(frozen=True)
class Release:
    """One released transformer and what goes with it.

    Attributes:
        hub: id on the hub.
        schedule: its grids; one token covers 16 x 16 pixels.
        transformer, tokenizer: sizes.
    """

    hub: str
    schedule: Schedule
    transformer: TransformerConfig
    tokenizer: TokenizerConfig


def _release(hub: str, schedule: Schedule, causal: bool) -> Release:
    levels = len(schedule.scales)
    return Release(
        hub, schedule, TransformerConfig(1920, 30, 30, levels, causal), TokenizerConfig()
    )


SCHEDULE_512 = _square(1, 2, 3, 4, 6, 9, 13, 18, 24, 32)
SCHEDULE_1024 = _square(1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64)

RELEASED = {
    "switti": _release("yresearch/Switti", SCHEDULE_512, causal=False),
    "switti-ar": _release("yresearch/Switti-AR", SCHEDULE_512, causal=True),
    "switti-1024": _release("yresearch/Switti-1024", SCHEDULE_1024, causal=False),
    "switti-1024-ar": _release("yresearch/Switti-1024-AR", SCHEDULE_1024, causal=True),
}


def load_transformer(path: Path, release: Release) -> SwittiTransformer:
    """Read a transformer's file.

    Both variants have the same keys and shapes; the attention mask that the file carries tells
    them apart.

    Raises:
        CheckpointError: damaged; missing, extra or misshapen keys; the other variant's file.
    """
    tensors = read_tensors(path)
    if MASK in tensors:
        _check_mask(tensors[MASK], release, path)
    transformer = SwittiTransformer(release.transformer)
    load_strict(transformer, tensors, source=str(path))
    return transformer


def _check_mask(mask_11LL: Tensor, release: Release, path: Path) -> None:
    total = release.schedule.total
    if tuple(mask_11LL.shape) != (1, 1, total, total):
        raise CheckpointError(
            f"{path} is for {mask_11LL.shape[-1]} tokens, {release.hub} has {total}: "
            "take the file of the same resolution"
        )
    causal = bool(mask_11LL[0, 0, -1, 0] == 0)
    if causal != release.transformer.causal:
        held, wanted = ("Switti AR", "Switti") if causal else ("Switti", "Switti AR")
        raise CheckpointError(f"{path} holds {held}, not {wanted}: choose the other model")


def load_tokenizer(path: Path, config: TokenizerConfig) -> VQVAE:
    """Read a tokenizer's file; its encoder is skipped.

    Raises:
        CheckpointError: damaged; missing, extra or misshapen keys.
    """
    tensors = {k: v for k, v in read_tensors(path).items() if not k.startswith(UNREAD)}
    tokenizer = VQVAE(config)
    load_strict(tokenizer, tensors, source=str(path))
    return tokenizer


def load_released(
    name: str,
    folder: Path,
    device: torch.device,
    sampling: Sampling = SAMPLING,
    strict: bool = False,
) -> SwittiModel:
    """Load a released model from ``folder``, which holds one folder per hub repository.

    ``hf download ORG/NAME --local-dir FOLDER/NAME`` for the model, the tokenizer and both text
    encoders makes it.

    Raises:
        UserError: no such model.
        CheckpointError: a file is missing, damaged, or does not fit.
    """
    if name not in RELEASED:
        raise unknown("Switti model", name, RELEASED)
    return assemble(name, RELEASED[name], folder, device, sampling, strict)


def assemble(
    name: str,
    release: Release,
    folder: Path,
    device: torch.device,
    sampling: Sampling,
    strict: bool,
) -> SwittiModel:
    """A model of any size from a folder laid out as :func:`load_released` says."""
    places = {hub: folder / hub.split("/")[1] for hub in (release.hub, TOKENIZER, *ENCODERS)}
    missing = [f"{hub} in {place}" for hub, place in places.items() if not place.is_dir()]
    if missing:
        raise CheckpointError(
            f"{name} needs {', '.join(missing)}: run `hf download ORG/NAME --local-dir FOLDER/NAME`"
        )
    transformer = load_transformer(places[release.hub] / WEIGHTS, release)
    tokenizer = load_tokenizer(places[TOKENIZER] / WEIGHTS, release.tokenizer)
    text = CLIPPair.from_folders(places[ENCODERS[0]], places[ENCODERS[1]], device)
    return SwittiModel(
        name,
        transformer.to(device),
        tokenizer.to(device),
        text,
        release.schedule,
        sampling,
        strict,
    )
