"""The model card of the Gallery's weights, written from the recipe and the training logs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from tools.gallery import recipe
from varbench.models.gallery import sizes

POINTS = 12


def loss_curve(log: Path) -> str:
    """About a dozen rows of a stage's log as a Markdown table."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    by_step = {row["step"]: row for row in rows}
    steps = sorted(by_step)
    chosen = sorted({steps[round(i * (len(steps) - 1) / (POINTS - 1))] for i in range(POINTS)})
    keys = [key for key in rows[-1] if key not in {"seconds", "norm"}]
    return str(tabulate([[by_step[s].get(k) for k in keys] for s in chosen], keys, "github"))


def write_card(out: Path, target: Path) -> None:
    """Write the card.

    Args:
        out: the training folder, with one ``STAGE.jsonl`` per stage.
        target: the card's path.
    """
    stages = {
        "tokenizer": recipe.TOKENIZER_STAGE,
        "decoder": recipe.DECODER_STAGE,
        "transformer": recipe.TRANSFORMER_STAGE,
    }
    parts = [
        "# Weights of the Gallery",
        "A small Infinity (same classes as the real one) trained on drawings of our own: "
        f"{recipe.RENDERS} renders of {recipe.IMAGE_SIDE} x {recipe.IMAGE_SIDE} pixels, "
        "captions drawn afresh at every step, held-out combinations never shown. "
        "Written by `python -m tools.gallery.train`; licence Apache-2.0. "
        "Not for anything but testing erasure methods.",
        f"Seed {recipe.SEED}; all weights are moving averages, stored as float16.",
        "## Sizes",
        f"- transformer: `{sizes.TRANSFORMER}`",
        f"- tokenizer: `{sizes.TOKENIZER}`",
        f"- text encoder (T5, trained along): `{recipe.TEXT_ENCODER}`",
        f"- scales: `{sizes.SCHEDULE.scales}`, {sizes.SCHEDULE.total} tokens",
    ]
    for name, stage in stages.items():
        parts += [f"## {name}", f"`{asdict(stage)}`", loss_curve(out / f"{name}.jsonl")]
    target.write_text("\n\n".join(parts) + "\n")
