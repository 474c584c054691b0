"""The command line run in this process, and small settings for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from varbench.cli import app
from varbench.store import Store

_GROUPS = ("target", "neighbours", "unrelated")


def small_groups(prompts: int, seeds: int) -> list[str]:
    """Overrides for so many prompts, and seeds of each, in every group of the concept."""
    sizes = {"prompts": prompts, "seeds": seeds}
    return [f"suite.groups.{g}.{name}={size}" for g in _GROUPS for name, size in sizes.items()]


SMALL = [
    *small_groups(3, 2),
    "suite.block=4",
    "suite.probe.prompts=3",
    "suite.robustness.prompts=0",  # tests/pipeline/test_attack.py
    "pairs=4",
    "method.train.steps=3",
]
"""A run of seconds on the Gallery."""

SMALL_BASE = SMALL[:-2]
"""The settings of `SMALL` that concern the base model."""

TINY = [
    *small_groups(2, 2),
    "suite.robustness.prompts=0",
    "suite.block=4",
    "method.train.steps=2",
]


def varbench(*args: str | Path) -> Any:
    """The result of ``varbench ARGS``."""
    return CliRunner().invoke(app, [str(arg) for arg in args])


def cells(store: Path) -> dict[str, Any]:
    """The cells of a store by ``method/concept/seed``."""
    bodies = [entry.json("cell.json") for entry in Store(store).entries("cell")]
    return {f"{b['method']}/{b['concept']}/{b['seed']}": b for b in bodies}
