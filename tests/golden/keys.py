"""What today's code would keep of a run, and what it would still have to do.

This is the one file of the golden tests that knows how a run is planned. It is to be rewritten when
that changes; the frozen keys are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from varbench.data.groups import KEPT
from varbench.methods.registry import NONE
from varbench.models import registry
from varbench.pipeline import run
from varbench.pipeline.ablation import load_ablation
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.dry_run import run_estimate
from varbench.pipeline.plan import Cell, Request, blocks, plan
from varbench.pipeline.stages import attack, compare, generate, probe
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


def _shop(store: Path) -> RunContext:
    return RunContext(Store(store), Progress(Console(quiet=True)))


def requests_of_ablation(file: str, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """The runs of an ablation's variants as plain values, for freezing them."""
    ablation = load_ablation(file)
    asked = Request("gallery", (), (), "", (0,), tuple(overrides))
    made = [asdict(ablation.request(one, asked)) for one in ablation.variants]
    return [{k: v for k, v in one.items() if k not in ("device", "engine")} for one in made]


def left_to_do(asked: Mapping[str, Any], store: Path) -> dict[str, int]:
    """By stage, how many items of a request the store lacks, as `varbench plan` counts them."""
    return {
        w.stage: w.todo for w in run_estimate(plan(_request(asked)), _shop(store), True, None).works
    }


def keys_of_request(asked: Mapping[str, Any]) -> dict[str, list[str]]:
    """By stage, the first digits of the keys of all entries of a run, in order of the run."""
    ctx = _shop(Path("nowhere"))
    found: dict[str, dict[str, None]] = {stage: {} for stage in STAGES}

    def note(stage: str, spec: Mapping[str, Any]) -> str:
        key = digest(spec)
        found[stage][key[:DIGITS]] = None
        return key

    for cell in plan(_request(asked)):
        _note_cell(cell, ctx, note)
    return {stage: list(keys) for stage, keys in found.items()}


def _note_cell(cell: Cell, ctx: RunContext, note: Any) -> None:
    size, model = cell.config.suite.block, registry.fingerprint(cell.config.model)
    instruments = ctx.instruments(cell)
    spec = generate.edit_spec(cell)
    edit = None if spec is None else note("edit", spec)
    todo = [(name, b) for name, rows in cell.groups().items() for b in blocks(rows, size)]

    def scored(images: str, block: Any, scorers: Mapping[str, Any]) -> None:
        for role, who in scorers.items():
            identity = {"scorer": role, "version": who.version, "weights": who.fingerprint()}
            texts = [row.prompt.text for row in block]
            note("scores", {"pictures": images, **identity, "prompts": texts})

    made = [note("pictures", generate.images_spec(cell, block, edit)) for _, block in todo]
    for key, (_, block) in zip(made, todo, strict=True):
        scored(key, block, instruments.scorers)
    if generate.steering_spec(cell) is None:
        probed = [row for rows in probe.probed_rows(cell).values() for row in rows]
        for block in blocks(probed, size):
            history = note("rollouts", probe.rollouts_spec(cell, block))
            asked = {"version": probe.VERSION, "model": model, "edit": edit}
            note("probe", {**asked, "rollouts": history})
    for task in attack.tasks(cell, instruments.required):
        if task.stage == "completions":
            note("rollouts", probe.rollouts_spec(cell, task.block))
        else:
            for block in blocks(attack.example_rows(cell), size):
                note("rollouts", probe.rollouts_spec(cell, block))
            note("attack", attack.attack_spec(cell, edit))
        key = note(task.stage, attack.task_spec(cell, task, edit))
        scored(key, task.block, instruments.judge_scorers)
    unerased = replace(cell, method=NONE)
    base = [digest(generate.images_spec(unerased, block, None)) for _, block in todo]
    places = compare.next_seeds([block for _, block in todo])
    for role, who in instruments.comparers.items():
        for key, theirs, some in zip(made, base, places, strict=True):
            following = [place and (made[place[0]], place[1]) for place in some]
            identity = (who.version, who.fingerprint())
            note("compare", compare.spec_of(role, identity, key, theirs, following))
    world = registry.reference(cell.config.model.name)
    if world is not None and "features" in instruments.scorers:
        for name, block in todo:
            if name in KEPT:
                rows = [[row.prompt.id, row.seed, dict(row.prompt.labels)] for row in block]
                of = {"world": cell.config.model.name, "version": world.VERSION, "rows": rows}
                strict = {"strict": True} if cell.config.model.strict else {}
                key = note("reference", of | strict)
                scored(key, block, {"features": instruments.scorers["features"]})
    note("cell", run.cell_spec(cell, instruments))
