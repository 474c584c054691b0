"""The story of a run: plan, edit, generate, probe, attack, score, compare, record.

Every step looks into the store first, so the same command resumes, and adding a method, a seed or
a concept costs only the difference. The base model (``none``) always runs along.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from varbench.conf.schema import plain
from varbench.methods.registry import NONE
from varbench.models import registry
from varbench.pipeline.ablation import Ablation
from varbench.pipeline.compatibility import check_read
from varbench.pipeline.context import RunContext, deterministic_threads
from varbench.pipeline.graph import tasks_of_cell
from varbench.pipeline.outputs import CellOutputs
from varbench.pipeline.plan import Cell, Request, base_cell, plan, prompts_of
from varbench.pipeline.record import CellHeader, cell_spec, record_cell, recorded
from varbench.pipeline.stages.reference import statistics_spec
from varbench.store import Entry, Stage, Writer, cached, next_sequence


def run(request: Request, ctx: RunContext) -> list[Entry]:
    """Compute what is missing and return the cells' entries, in the order of the plan."""
    cells = plan(request)
    done: list[Entry] = []
    base: CellOutputs | None = None
    for cell in cells:
        ctx.progress.label = f"{cell.method} on {cell.label}, seed {cell.seed}"
        if cell.method == NONE:
            base = None
        spec = cell_spec(ctx, cell)
        for concept, groups in prompts_of([cell]).items():  # the tokenizer may only now be here
            check_read(cell.config.model, groups, concept)
        entry = recorded(ctx.store, spec, cell.groups())
        if entry is None:
            base = base or tasks_of_cell(ctx, base_cell(cells, cell)).outputs(ctx)
            outputs = base if cell.method == NONE else tasks_of_cell(ctx, cell).outputs(ctx)
            header = _header(ctx, cell, spec, outputs)
            with deterministic_threads(cell):
                entry = record_cell(ctx, cell, outputs, base, header)
        done.append(entry)
    return done


def _header(
    ctx: RunContext, cell: Cell, spec: Mapping[str, object], outputs: CellOutputs
) -> CellHeader:
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
        **statistics_spec(cell, ctx.evaluator(cell)),
    }
    return CellHeader(spec, fields, origin)


def run_ablation(ablation: Ablation, requests: Sequence[Request], ctx: RunContext) -> Entry:
    """Run the requests of an ablation's variants and record which cells they are."""
    cells = [[entry.key for entry in run(request, ctx)] for request in requests]
    content = dataclasses.asdict(ablation)
    for variant, keys in zip(content["variants"], cells, strict=True):
        variant["cells"] = keys
    spec = {"name": ablation.name, "content": content}

    def write(writer: Writer) -> None:
        (writer.dir / "ablation.json").write_text(json.dumps(content, indent=1))
        writer.meta |= next_sequence(ctx.store, Stage.ABLATION)

    return cached(ctx.store, Stage.ABLATION, spec, write)
