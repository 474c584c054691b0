"""The stage ``edit``: a method erases a concept, and the tensors that it changed are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from varbench.conf.schema import plain
from varbench.errors import UserError
from varbench.methods.base import Edit, Method, TrainingContext
from varbench.methods.registry import NONE, load_method
from varbench.pipeline.context import EDIT_FILE, RunContext
from varbench.pipeline.plan import Cell
from varbench.pipeline.task import Task
from varbench.store import Entry, Stage, Writer
from varbench.store.temporary import checkpoint_file
from varbench.utils.metering import metered


def edit_spec(cell: Cell, model: str) -> dict[str, Any] | None:
    """Spec of an edit of the model with a fingerprint; None where no weight is changed."""
    if cell.method == NONE or cell.steers:
        return None
    strict = {"strict": True} if cell.config.model.strict else {}
    return {"model": model, **_method_spec(cell), "seed": cell.seed, **strict}


def steering_spec(cell: Cell) -> dict[str, Any] | None:
    """Spec of a changed sampling; None where the model's own guidance is used."""
    return _method_spec(cell) if cell.steers else None


def _method_spec(cell: Cell) -> dict[str, Any]:
    return {
        "method": cell.method,
        "version": load_method(cell.method).version,
        "config": plain(cell.config.method),
        "concept": cell.erased.digest(),
    }


def edit_task(ctx: RunContext, cell: Cell) -> Task | None:
    """The cell's edit; None where no weight is changed."""
    spec = edit_spec(cell, ctx.fingerprint(cell))
    if spec is None:
        return None
    return Task(Stage.EDIT, spec, cell, _compute, label=cell.method)


def _compute(ctx: RunContext, task: Task, inputs: Sequence[Entry], writer: Writer) -> None:
    cell, method = task.cell, load_method(task.cell.method)
    assert isinstance(method, Method)
    model = ctx.model(cell)  # loading it is no cost of the edit
    scratch = writer.scratch = checkpoint_file(ctx.store.root, task.key)
    resumed = scratch.exists()
    context = TrainingContext(cell.seed, scratch, ctx.progress)
    with metered(ctx.device) as cost:
        edit = method.erase(model, cell.erased, cell.config.method, context)
    _check_finite(edit, cell, scratch)
    edit.save(writer.dir / EDIT_FILE)
    log = "".join(json.dumps(dict(line)) + "\n" for line in edit.log)
    (writer.dir / "log.jsonl").write_text(log)
    (writer.dir / "notes.json").write_text(json.dumps(dict(edit.notes)))
    # The time that a killed run spent before is unknown, so none is better than a wrong one.
    writer.meta["seconds"] = None if resumed else cost.seconds
    writer.meta["memory"] = cost.memory
    writer.meta["parameters"] = sum(t.numel() for t in edit.tensors.values())


def _check_finite(edit: Edit, cell: Cell, scratch: Path) -> None:
    """Refuse an edit that diverged; resuming from its checkpoint would only diverge again."""
    wrong = [name for name, tensor in edit.tensors.items() if not tensor.isfinite().all()]
    if wrong:
        scratch.unlink(missing_ok=True)
        raise UserError(
            f"{cell.method} on {cell.label}, seed {cell.seed}, diverged: {len(wrong)} of "
            f"{len(edit.tensors)} changed tensors are not finite, such as {wrong[0]}; lower its "
            "learning rate or its number of steps"
        )
