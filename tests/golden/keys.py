"""The keys of everything that a run would store, and what it would still have to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from varbench.pipeline.ablation import load_ablation
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.workload import run_workload
from varbench.pipeline.graph import tasks
from varbench.pipeline.plan import Request, plan
from varbench.pipeline.record import cell_spec
from varbench.store import Store, digest
from varbench.utils.progress import Progress

DIGITS = 16
STAGES = (
    "edit", "pictures", "rollouts", "probe", "attack", "attacked", "completions",
    "reference", "scores", "compare", "cell",
)  # fmt: skip


def _request(asked: Mapping[str, Any]) -> Request:
    """From the plain values in which a request is frozen."""
    lists = {name: tuple(value) for name, value in asked.items() if isinstance(value, list)}
    return Request(**{**asked, **lists})


def _context(store: Path) -> RunContext:
    return RunContext(Store(store), Progress(Console(quiet=True)))


def requests_of_ablation(file: str, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """The runs of an ablation's variants as plain values, for freezing them."""
    ablation = load_ablation(file)
    asked = Request("gallery", (), (), "", (0,), tuple(overrides))
    made = [asdict(ablation.request(one, asked)) for one in ablation.variants]
    return [{k: v for k, v in one.items() if k not in ("device", "engine")} for one in made]


def left_to_do(asked: Mapping[str, Any], store: Path) -> dict[str, int]:
    """By stage, how many items of a request the store lacks, as `varbench plan` counts them."""
    works = run_workload(plan(_request(asked)), _context(store))
    return {workload.stage: workload.todo for workload in works}


def keys_of_request(asked: Mapping[str, Any]) -> dict[str, list[str]]:
    """By stage, the first digits of the keys of all entries of a run, in order of the run."""
    ctx, cells = _context(Path("nowhere")), plan(_request(asked))
    keys: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for task in tasks(ctx, cells):
        keys[task.stage].append(task.key[:DIGITS])
    keys["cell"] = [digest(cell_spec(ctx, cell))[:DIGITS] for cell in cells]
    return keys
