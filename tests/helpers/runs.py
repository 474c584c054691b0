"""Run contexts for tests, and the tasks of a cell by stage."""

from __future__ import annotations

from pathlib import Path

from varbench.pipeline.context import RunContext
from varbench.pipeline.graph import tasks_of_cell
from varbench.pipeline.plan import Cell
from varbench.pipeline.task import Task
from varbench.store import Stage, Store


def run_context(root: Path) -> RunContext:
    """A context without a terminal."""
    return RunContext(Store(root))


def cell_tasks(ctx: RunContext, cell: Cell, stage: Stage, label: str = "") -> list[Task]:
    """The tasks of a cell's stage, of one label if it is named."""
    every = [task for task in tasks_of_cell(ctx, cell).all() if task.stage is stage]
    return [task for task in every if label in ("", task.label)]
