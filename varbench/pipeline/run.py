"""The story of a run: plan, edit, generate, probe, attack, score, compare, record.

Every step looks into the store first, so the same command resumes, and adding a method, a seed or
a concept costs only the difference. The base model (``none``) always runs along.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from varbench.conf.schema import plain
from varbench.methods.registry import NONE
from varbench.metrics.base import Moments
from varbench.metrics.groups import Array
from varbench.models import registry
from varbench.pipeline.ablation import Ablation
from varbench.pipeline.context import RunContext, deterministic_threads
from varbench.pipeline.graph import CellTasks, stored_groups, tasks_of_cell
from varbench.pipeline.outputs import CellOutputs
from varbench.pipeline.plan import Cell, Request, base_cell, plan
from varbench.pipeline.record import CellHeader, cell_spec, complete, record_cell
from varbench.pipeline.stages.reference import FEATURES, statistics, statistics_spec
from varbench.pipeline.task import perform
from varbench.store import Entry, Stage, Writer, cached, next_sequence
from varbench.store.temporary import sweep


def run(request: Request, ctx: RunContext) -> list[Entry]:
    """Compute what is missing and return the cells' entries, in the order of the plan."""
    cells = plan(request)
    sweep(ctx.store.root)
    done: list[Entry] = []
    base: Measured | None = None
    for cell in cells:
        ctx.progress.label = f"{cell.method} on {cell.label}, seed {cell.seed}"
        if cell.method == NONE:
            base = None
        spec = cell_spec(ctx, cell)
        entry = ctx.store.get(Stage.CELL, spec)
        if entry is None or not complete(ctx.store, entry):
            base = base or measure(ctx, base_cell(cells, cell))
            measured = base if cell.method == NONE else measure(ctx, cell)
            entry = _record(ctx, cell, spec, measured, base, outdated=entry)
        done.append(entry)
    return done


@dataclasses.dataclass(frozen=True)
class Measured:
    """All that the tasks of a cell gave: the model's outputs, and features of real images."""

    outputs: CellOutputs
    reference: Mapping[str, Array]


def measure(ctx: RunContext, cell: Cell) -> Measured:
    """Perform all tasks of a cell."""
    tasks: CellTasks = tasks_of_cell(ctx, cell)
    entries = perform(ctx, tasks.all())
    renders = stored_groups(tasks.reference, entries)
    features = {name: g.group().array(FEATURES, FEATURES) for name, g in renders.items()}
    return Measured(tasks.outputs(ctx, entries), features)


def _record(
    ctx: RunContext,
    cell: Cell,
    spec: Mapping[str, object],
    measured: Measured,
    base: Measured,
    outdated: Entry | None,
) -> Entry:
    """Compute all metrics of a cell and write its entry."""
    evaluator, outputs = ctx.evaluator(cell), measured.outputs
    fields = {
        "method_config": plain(cell.config.method),
        "command": cell.command,
        "overrides": list(cell.overrides),
        "resolved_config": plain(cell.config),
        "edit": outputs.edit.key if outputs.edit else None,
    }
    origin = {
        "model_fingerprint": spec["model"],
        "model_files": registry.provenance(cell.config.model),
        "prompt_tokens_lost": outputs.tokens_lost(),
        **statistics_spec(cell, evaluator),
    }
    reference: dict[str, Array | Moments] = {**measured.reference, **statistics(cell, evaluator)}
    header = CellHeader(spec, fields, origin)
    with deterministic_threads(cell):
        return record_cell(ctx, cell, outputs, base.outputs, header, reference, outdated)


def run_ablation(ablation: Ablation, request: Request, ctx: RunContext) -> Entry:
    """Run all variants of an ablation and record which cells they are.

    Args:
        ablation: what to vary.
        request: model, seeds, device and overrides; its concepts and suite, where not empty, stand
            in for the ablation's.
        ctx: the run context.

    Raises:
        UserError: a variant is not possible; nothing has been computed then.
    """
    requests = [ablation.request(variant, request) for variant in ablation.variants]
    for variant_request in requests:
        plan(variant_request)
    cells = [[entry.key for entry in run(one, ctx)] for one in requests]
    content = dataclasses.asdict(ablation)
    for variant, keys in zip(content["variants"], cells, strict=True):
        variant["cells"] = keys
    spec = {"name": ablation.name, "content": content}

    def write(writer: Writer) -> None:
        (writer.dir / "ablation.json").write_text(json.dumps(content, indent=1))
        writer.meta |= next_sequence(ctx.store, Stage.ABLATION)

    return cached(ctx.store, Stage.ABLATION, spec, write)
