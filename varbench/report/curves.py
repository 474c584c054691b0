"""Curves over a model's scales, read from a store: kept tokens, and drift of predictions."""

from __future__ import annotations

import json

import numpy as np

from varbench.report.cells import CellRecord
from varbench.store import Entry, Store

STEPS = 20
"""Last training steps that kept tokens are averaged over."""


def kept_by_scale(store: Store, cell: CellRecord) -> list[float]:
    """Share of tokens per scale, in per cent, that the filter kept in the last steps of training.

    Empty where the method has no filter or the edit is not in the store.
    """
    entry = edit_of(store, cell)
    lines = [] if entry is None else training_log(entry)
    last = [line for line in lines[-STEPS:] if "kept_0" in line]
    if not last:
        return []
    scales = sum(1 for name in last[0] if name.startswith("kept_"))
    return [100 * float(np.mean([line[f"kept_{k}"] for line in last])) for k in range(scales)]


def edit_of(store: Store, cell: CellRecord) -> Entry | None:
    """The stored edit of a cell; None if it has none."""
    key = cell.body.get("edit")
    return store.find("edit", key, verify=False) if key else None


def training_log(edit: Entry) -> list[dict[str, float]]:
    """The numbers that an edit's training logged, one mapping per step."""
    return [json.loads(line) for line in edit.path("log.jsonl").read_text().splitlines()]


def drift_by_scale(store: Store, cell: CellRecord) -> list[float]:
    """Mean KL from the base model's prediction to the method's, per scale, in nats per bit.

    Over the probed prompts, which must all stay (LD1 by scale); empty where nothing was probed.
    """
    probes = []
    for name in cell.body.get("inputs") or ():
        stage, _, key = name.partition("/")
        entry = store.find(stage, key, verify=False) if stage == "probe" else None
        if entry is not None:
            with np.load(entry.path("probe.npz"), allow_pickle=False) as arrays:
                probes.append(arrays["kl"])
    if not probes:
        return []
    return [float(mean) for mean in np.concatenate(probes).mean(axis=0)]
