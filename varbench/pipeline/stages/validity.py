"""Detection of failed images: values that are not finite, and images that a scorer fails on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from varbench.errors import UserError
from varbench.metrics.groups import Array
from varbench.models.protocol import Rollout
from varbench.store import StoreError

log = logging.getLogger("varbench.failed")


def find_invalid(rollout: Rollout, images: Tensor) -> dict[int, str]:
    """Numbers of a batch's images that are not finite, with the reason.

    Args:
        rollout: what they were decoded from.
        images: ``[B, 3, H, W]``.
    """
    reasons: dict[int, str] = {}
    wrong = (~images.isfinite()).flatten(1).sum(dim=1).tolist()
    size = images[0].numel() if len(images) else 0
    reasons |= {i: f"{n} of {size} pixel values are not finite" for i, n in enumerate(wrong) if n}
    if rollout.finite is not None:
        lost = (~rollout.finite).nonzero().flatten().tolist()
        reasons |= dict.fromkeys(lost, "the model's predictions are not finite")
    return reasons


def score_or_isolate(
    score: Callable[[Sequence[Path], Sequence[str]], Mapping[str, Array]],
    files: Mapping[int, Path],
    prompts: Sequence[str],
    *,
    singly: bool = False,
) -> tuple[dict[str, Array], dict[int, str]]:
    """Score a batch; on an error, retry image by image to isolate the bad ones.

    A scorer that fails on all of them is broken itself, and its error is raised, as are errors of
    memory, of files, and those that name a fix.

    Args:
        score: of a scorer.
        files: images by number in the batch.
        prompts: of the whole batch.
        singly: score one after the other, so that no batch size decides how sums are rounded.

    Returns:
        Arrays with a row per image that did not fail, and the reasons of those that did.
    """
    if not files:
        return {}, {}
    if singly and len(files) > 1:
        return _one_by_one(score, files, prompts)
    try:
        arrays = score(list(files.values()), [prompts[i] for i in files])
    except _NOT_THE_IMAGES:
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and "out of memory" in str(error):  # of a GPU
            raise
        if len(files) > 1:
            return _one_by_one(score, files, prompts, error)
        return {}, dict.fromkeys(files, f"{type(error).__name__}: {error}")
    good = _finite(arrays)
    bad = {i: "its scores are not finite" for i, ok in zip(files, good, strict=True) if not ok}
    return {name: rows[good] for name, rows in arrays.items()}, bad


_NOT_THE_IMAGES = (UserError, StoreError, OSError, MemoryError, ImportError)


def _one_by_one(
    score: Callable[[Sequence[Path], Sequence[str]], Mapping[str, Array]],
    files: Mapping[int, Path],
    prompts: Sequence[str],
    error: Exception | None = None,
) -> tuple[dict[str, Array], dict[int, str]]:
    parts: list[dict[str, Array]] = []
    failed: dict[int, str] = {}
    for number, file in files.items():
        arrays, wrong = score_or_isolate(score, {number: file}, prompts)
        failed |= wrong
        parts += [] if wrong else [arrays]
    if error is not None and not parts:
        raise error
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}, failed


def _finite(arrays: Mapping[str, Array]) -> Array:
    """``[n]`` True for images whose scores are all finite."""
    finite = [
        np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        for rows in arrays.values()
        if rows.dtype.kind == "f"
    ]
    count = len(next(iter(arrays.values())))
    return np.asarray(np.all([np.ones(count, np.bool_), *finite], axis=0))


def log_failures(stage: str, prompts: Sequence[str], failed: Mapping[int, str]) -> None:
    """Warn of failed images, by prompt, as they fail."""
    for number, reason in failed.items():
        log.warning("%s failed for %r: %s", stage, prompts[number], reason)
