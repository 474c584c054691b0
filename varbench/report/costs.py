"""Costs of a cell's edit, read from the manifests of the entries that it was computed from.

A cell has nothing that a second run could change, and seconds would change: so they stay in the
manifest of the edit, and a report reads them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from varbench.metrics.base import MetricInfo
from varbench.store import Store

_INFOS = (
    MetricInfo(
        id="cost_seconds", title="Erasing, s", better="down", unit="s", digits=1, table="cost",
        definition="Seconds that making the edit took, without reading the model. Not given where "
        "it was interrupted.",
    ),
    MetricInfo(
        id="cost_memory", title="Peak, GB", better="down", unit="GB", table="cost",
        definition="Most memory meanwhile, 10^9 bytes: on CUDA all that was allocated on the "
        "device, on the CPU the whole process.",
    ),
    MetricInfo(
        id="cost_parameters", title="Changed, M", better="down", unit="M", digits=3, table="cost",
        definition="Million numbers in the tensors that the edit replaces.",
    ),
    MetricInfo(
        id="cost_passes", title="Extra passes", better="down", unit="", digits=0, table="cost",
        definition="Forward passes per scale at sampling beyond those of the base model.",
    ),
)  # fmt: skip
COSTS = {info.id: info for info in _INFOS}
"""By id, the facts about costs: they are recorded like metrics, but of no image."""


def costs_of(store: Store, body: Mapping[str, Any]) -> dict[str, float]:
    """Costs by metric id; those that the store does not record are absent.

    A method that changes sampling only has no edit: it costs no time before sampling, and changes
    no parameter.

    Args:
        store: that holds the entries.
        body: a ``cell.json`` of a method (the base model costs nothing).
    """
    costs: dict[str, float | None] = {"cost_passes": _extra_passes(store, body)}
    if key := body.get("edit"):
        entry = store.find("edit", key, verify=False)
        meta = entry.meta if entry is not None else {}
        costs["cost_seconds"] = meta.get("seconds")
        costs["cost_memory"] = _scaled(meta.get("memory"), 1e9)
        costs["cost_parameters"] = _scaled(meta.get("parameters"), 1e6)
    elif "edit" in body:
        costs |= {"cost_seconds": 0.0, "cost_parameters": 0.0}
    return {metric: float(value) for metric, value in costs.items() if value is not None}


def _extra_passes(store: Store, body: Mapping[str, Any]) -> float | None:
    keys = (image["key"] for group in (body.get("pictures") or {}).values() for image in group)
    key = next(keys, None)
    entry = store.find("pictures", key, verify=False) if key else None
    return None if entry is None else entry.meta.get("extra_passes")


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit
