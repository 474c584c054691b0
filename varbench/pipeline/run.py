"""The story of a run: plan, erase, generate, probe, challenge, score, compare, record.

Every step looks into the store first, so the same command resumes, and adding a method, a seed
or a concept costs only the difference. The unerased model (``none``) always runs along.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from varbench.conf.schema import plain
from varbench.methods.registry import NONE
from varbench.metrics.record import CELL_SCHEMA
from varbench.models import registry
from varbench.pipeline.ablation import Ablation
from varbench.pipeline.context import RunContext
from varbench.pipeline.outputs import CellHeader, CellOutputs, finished, look, write_cell
from varbench.pipeline.plan import Cell, Request, blocks, plan
from varbench.pipeline.stages import attack, generate
from varbench.pipeline.stages import probe as probes
from varbench.pipeline.stages.attack import run_attacks
from varbench.pipeline.stages.probe import probe
from varbench.pipeline.stages.reference import references, statistics_spec
from varbench.scoring.evaluator import Evaluator
from varbench.store import Entry
from varbench.store.sequence import next_sequence


def run(request: Request, ctx: RunContext) -> list[Entry]:
    """Do what is asked and return the cells' entries, in the order of the plan."""
    cells = plan(request)
    ctx.store.sweep()
    done: list[Entry] = []
    base: CellOutputs | None = None
    for cell in cells:
        ctx.progress.label = f"{cell.method} on {cell.label}, seed {cell.seed}"
        if cell.method == NONE:
            base = None
        entry = finished_cell(ctx, cell)
        if entry is None:
            with generate.deterministic_threads(cell):
                base = base or measure(ctx, unerased(cells, cell))
                entry = _record(ctx, cell, base)
        done.append(entry)
    return done


def run_ablation(ablation: Ablation, asked: Request, ctx: RunContext) -> Entry:
    """Run all variants of an ablation and note which cells they are.

    Args:
        ablation: what to vary.
        asked: model, seeds, device and overrides; its concepts and suite, where not empty, stand
            in for the ablation's.
        shop: the place of work.

    Raises:
        UserError: a variant is not possible; nothing has been computed then.
    """
    requests = [ablation.request(variant, asked) for variant in ablation.variants]
    for request in requests:
        plan(request)
    cells = [[entry.key for entry in run(request, ctx)] for request in requests]
    content = dataclasses.asdict(ablation)
    for variant, keys in zip(content["variants"], cells, strict=True):
        variant["cells"] = keys
    spec = {"name": ablation.name, "content": content}
    if entry := ctx.store.get("ablation", spec):
        return entry
    with ctx.store.write("ablation", spec) as writer:
        (writer.dir / "ablation.json").write_text(json.dumps(content, indent=1))
        writer.meta |= next_sequence(ctx.store, "ablation")
    assert writer.entry is not None
    return writer.entry


def unerased(cells: Sequence[Cell], cell: Cell) -> Cell:
    """The unerased model's cell among the cells of a plan, for what `cell` tests."""
    same = (c for c in cells if c.concept is cell.concept and c.asked == cell.asked)
    return next(c for c in same if c.method == NONE)


def cell_spec(cell: Cell, instruments: Evaluator) -> dict[str, Any]:
    """What decides a cell's content."""
    config = plain(cell.config)
    config["model"].pop("weights", None)  # a path; the fingerprint says what is there
    config["model"].pop("methods", None)  # of all methods; the cell's own is in `method`
    return {
        "schema": CELL_SCHEMA,
        "model": registry.fingerprint(cell.config.model),
        "config": config,
        "edit": generate.edit_spec(cell),
        "steering": generate.steering_spec(cell),
        "concept": cell.concept.digest(),
        "erased": [concept.digest() for concept in cell.erased.concepts],
        "seed": cell.seed,
        **instruments.spec(),
        **statistics_spec(cell, instruments),
        "generate": generate.GENERATE_VERSION,
        "probe": probes.VERSION,
        "robustness": attack.VERSION,
    }


def finished_cell(ctx: RunContext, cell: Cell) -> Entry | None:
    """The cell's entry, if it and everything it was computed from is there and undamaged."""
    return finished(ctx.store, cell_spec(cell, ctx.instruments(cell)))


def measure(ctx: RunContext, cell: Cell, base: CellOutputs | None = None) -> CellOutputs:
    """All stages of one cell up to the comparisons; `base` is the unerased model's."""
    edit = generate.erase(ctx, cell)
    rows = cell.groups()
    todo = [block for some in rows.values() for block in blocks(some, cell.config.suite.block)]
    images = generate.generate(ctx, cell, edit, todo)
    probed = probe(ctx, cell, edit, base.probed if base else None)
    tried = run_attacks(ctx, cell, edit)
    return look(ctx, cell, rows, images, base, edit=edit, probed=probed, tried=tried)


def _record(ctx: RunContext, cell: Cell, base: CellOutputs) -> Entry:
    """Compute all metrics of a cell and write its entry."""
    own = base if cell.method == NONE else measure(ctx, cell, base)
    instruments = ctx.instruments(cell)
    spec = cell_spec(cell, instruments)
    told = {
        "method_config": plain(cell.config.method),
        "command": cell.command,
        "overrides": list(cell.overrides),
        "resolved_config": plain(cell.config),
        "edit": own.edit.key if own.edit else None,
    }
    origin = {
        "model_fingerprint": spec["model"],
        "model_files": registry.provenance(cell.config.model),
        "prompt_tokens_lost": own.tokens_lost(),
        **statistics_spec(cell, instruments),
    }
    real = references(ctx, cell)
    return write_cell(ctx, cell, own, base, CellHeader(spec, told, origin), real)
