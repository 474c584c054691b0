"""Getting the concept back on the Gallery: what is made, from what, and that nothing is redone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.helpers.stores import results
from varbench.conf.schema import RobustnessConfig
from varbench.methods.base import Edit, applied
from varbench.methods.registry import NONE
from varbench.models.protocol import Rollout
from varbench.pipeline import run
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.dry_run import run_estimate
from varbench.pipeline.plan import Cell, Request, plan
from varbench.pipeline.stages import attack, generate
from varbench.pipeline.stages.attack import ATTACKED, COMPLETIONS
from varbench.pipeline.stages.probe import rollouts_spec
from varbench.pipeline.stages.soft_prompt import find_soft_prompt
from varbench.store import Entry, Store, digest
from varbench.utils.progress import Progress

SMALL = (
    "suite.groups.target.prompts=3",
    "suite.groups.target.seeds=2",
    *(f"suite.groups.{g}.{k}=1" for g in ("neighbours", "unrelated") for k in ("prompts", "seeds")),
    "suite.probe.prompts=0",
    "suite.block=3",
    "suite.robustness.prompts=2",
    "suite.robustness.scales=[1,4,9]",
    "suite.robustness.vectors=2",
    "suite.robustness.examples=4",
    "suite.robustness.batch=2",
    "suite.robustness.steps=2",
    "suite.metrics=[acc_e,completion,attack_success,transfer]",
)
METHODS = ("uce", "neg-prompt")
WANTED = ("judge", "completion", "attack")
REQUEST = Request("gallery", METHODS, ("face-ada",), "smoke", (0,), SMALL)


def run_context(root: Path) -> RunContext:
    return RunContext(Store(root), Progress())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one run of a method that changes weights and of one that changes sampling."""
    root = tmp_path_factory.mktemp("robustness") / "store"
    run.run(REQUEST, run_context(root))
    return root


@pytest.fixture(scope="module")
def ctx(root: Path) -> RunContext:
    return run_context(root)


@pytest.fixture(scope="module")
def cells() -> dict[str, Cell]:
    return {cell.method: cell for cell in plan(REQUEST)}


@pytest.fixture(scope="module")
def bodies(ctx: RunContext) -> dict[str, Any]:
    found = [entry.json("cell.json") for entry in ctx.store.entries("cell")]
    return {body["method"]: body for body in found}


def edit_of(ctx: RunContext, cell: Cell) -> Entry | None:
    spec = generate.edit_spec(cell)
    return None if spec is None else ctx.store.get("edit", spec)


def entry_of(ctx: RunContext, cell: Cell, task: attack.Task) -> Entry:
    edit = edit_of(ctx, cell)
    found = ctx.store.get(task.stage, attack.task_spec(cell, task, edit.key if edit else None))
    assert found is not None
    return found


def same_images(entry: Entry, images: Any) -> None:
    for i in range(len(entry.files)):
        stored = np.array(Image.open(entry.path(f"{i:03d}.png")))
        np.testing.assert_array_equal(stored, images[i])


# --- what is made ---------------------------------------------------------------------------


def test_some_target_prompts_with_their_first_seeds_are_tried(cells: dict[str, Cell]) -> None:
    cell = cells[NONE]
    rows, target = attack.attacked_samples(cell), cell.groups()["target"]
    assert [r for r in target if r in rows] == rows and len(rows) == 4
    one = replace(cell.config.suite, robustness=RobustnessConfig(prompts=100, seeds=1))
    fewer = replace(cell, config=replace(cell.config, suite=one))
    assert [r.seed for r in attack.attacked_samples(fewer)] == [0, 0, 0]
    off = replace(cell.config.suite, robustness=RobustnessConfig())
    nothing = replace(cell, config=replace(cell.config, suite=off))
    assert attack.attacked_samples(nothing) == attack.example_rows(nothing) == []
    assert attack.tasks(nothing, WANTED) == []


def test_only_what_metrics_need_is_tried(cells: dict[str, Cell]) -> None:
    groups = [{t.group for t in attack.tasks(cells["uce"], [need])} for need in WANTED]
    assert groups == [set(), {"completion-1", "completion-4", "completion-9"}, {"attack"}]
    assert {t.group for t in attack.tasks(cells[NONE], WANTED)} == {"attack"}


def test_examples_are_training_prompts_over_all_pairs(cells: dict[str, Cell]) -> None:
    rows, pairs = attack.example_rows(cells["uce"]), cells["uce"].concept.pairs()
    texts = [pair.concept for pair in pairs]
    assert [texts.index(row.prompt.text) for row in rows] == [0, 12, 25, 37]
    tested = {
        p.text for group in ("target", "neighbours") for p in cells["uce"].concept.group(group)
    }  # type: ignore[arg-type]
    assert not tested & {row.prompt.text for row in rows}


def test_each_model_has_the_groups_that_it_can_give(bodies: dict[str, Any]) -> None:
    plain = {"target": 6, "neighbours": 1, "unrelated": 1}
    tried = {"completion-1": 4, "completion-4": 4, "attack": 4}  # the Gallery has five scales
    for method, body in bodies.items():
        groups = {name: len(shots) for name, shots in body["pictures"].items()}
        assert groups == plain | (tried if method != NONE else {"attack": 4})
        for name, shots in body["pictures"].items():
            kind = COMPLETIONS if "completion" in name else ATTACKED
            assert {s["stage"] for s in shots} == {"pictures" if name in plain else kind}


def test_images_are_found_where_the_cell_says(ctx: RunContext, bodies: dict[str, Any]) -> None:
    for body in bodies.values():
        for shots in body["pictures"].values():
            for shot in shots:
                entry = ctx.store.find(shot["stage"], shot["key"])
                assert entry is not None
                assert entry.path(shot["file"]).read_bytes().startswith(b"\x89PNG")
                assert f"{shot['stage']}/{shot['key']}" in body["inputs"]


def test_only_what_the_judge_reads_is_scored(ctx: RunContext) -> None:
    drawn = {e.key for stage in (COMPLETIONS, ATTACKED) for e in ctx.store.entries(stage)}
    scored = [e for e in ctx.store.entries("scores") if e.spec["pictures"] in drawn]
    assert {e.spec["scorer"] for e in scored} == {"judge"}
    assert {e.spec["pictures"] for e in scored} == drawn


def test_what_was_there_before_keeps_its_keys(ctx: RunContext, cells: dict[str, Cell]) -> None:
    """Nothing but a cell's key knows whether robustness is asked for."""
    cell = cells["uce"]
    off = replace(cell.config.suite, robustness=RobustnessConfig())
    without = replace(cell, config=replace(cell.config, suite=off))
    block = cell.groups()["target"][:3]
    assert generate.edit_spec(cell) == generate.edit_spec(without)
    assert generate.images_spec(cell, block, "k") == generate.images_spec(without, block, "k")
    assert set(generate.images_spec(cell, block, "k")) == {
        "version", "model", "edit", "steering", "sampling", "batch", "strict", "block", "rows",
    }  # fmt: skip
    assert rollouts_spec(cell, block) == {
        **generate.images_spec(cells[NONE], block, None), "rollouts": 1,
    }  # fmt: skip


# --- from what it is made -------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_completion_goes_on_from_the_unerased_models_image(
    method: str, ctx: RunContext, cells: dict[str, Cell]
) -> None:
    cell, model = cells[method], ctx.model(cells[method])
    task = next(t for t in attack.tasks(cell, WANTED) if t.group == "completion-4")
    assert len(task.block) == 3  # a whole block, so that nothing pads it
    text = model.encode([row.prompt.text for row in task.block])
    keys = [(row.prompt.id, row.seed) for row in task.block]
    own = model.generate(text, keys, guidance=model.guidance(2.0))
    edit = edit_of(ctx, cell)
    guidance = generate.guidance_of(cell, model)
    with applied(model, Edit.load(edit.path("edit.safetensors")) if edit else None):
        made = model.complete(text, own, 4, keys, guidance=guidance)  # type: ignore[attr-defined]
    same_images(entry_of(ctx, cell, task), generate.to_uint8(model.decode(made)))
    assert not torch.equal(made.tokens, own.tokens)


def test_a_short_block_is_padded_without_a_trace(ctx: RunContext, cells: dict[str, Cell]) -> None:
    cell, model = cells["neg-prompt"], ctx.model(cells["neg-prompt"])
    task = [t for t in attack.tasks(cell, WANTED) if t.group == "completion-1"][-1]
    (row,) = task.block
    text, keys = model.encode([row.prompt.text]), [(row.prompt.id, row.seed)]
    own = model.generate(text, keys, guidance=model.guidance(2.0))
    guidance = generate.guidance_of(cell, model)
    made = model.complete(text, own, 1, keys, guidance=guidance)  # type: ignore[attr-defined]
    entry = entry_of(ctx, cell, task)
    assert list(entry.files) == ["000.png"]
    same_images(entry, generate.to_uint8(model.decode(made)))


@pytest.mark.parametrize("method", [NONE, *METHODS])
def test_attacked_images_have_the_vectors_before_their_prompts(
    method: str, ctx: RunContext, cells: dict[str, Cell]
) -> None:
    cell, model = cells[method], ctx.model(cells[method])
    task = next(t for t in attack.tasks(cell, WANTED) if t.stage == ATTACKED)
    edit = edit_of(ctx, cell)
    found = ctx.store.get("attack", attack.attack_spec(cell, edit.key if edit else None))
    assert found is not None
    vectors = load_file(found.path("vectors.safetensors"))["vectors"]
    assert vectors.shape == (2, 128)
    soften = model.soft_prompts([row.prompt.text for row in task.block])  # type: ignore[attr-defined]
    keys = [(row.prompt.id, row.seed) for row in task.block]
    guidance = generate.guidance_of(cell, model)
    with applied(model, Edit.load(edit.path("edit.safetensors")) if edit else None):
        made = model.generate(soften(vectors), keys, guidance=guidance)
    same_images(entry_of(ctx, cell, task), generate.to_uint8(model.decode(made)))


def test_an_attack_is_found_on_the_edited_model(ctx: RunContext, cells: dict[str, Cell]) -> None:
    """Its first loss is that of the edited model on the unerased model's roll-outs."""
    cell, model = cells["uce"], ctx.model(cells["uce"])
    edit, texts = edit_of(ctx, cell), [r.prompt.text for r in attack.example_rows(cell)]
    assert edit is not None
    rows = attack.example_rows(cell)
    own = [
        model.generate(
            model.encode([r.prompt.text]), [(r.prompt.id, 0)], guidance=model.guidance(2.0)
        )
        for r in rows
    ]
    tokens, inputs = torch.cat([r.tokens for r in own]), torch.cat([r.inputs for r in own])
    settings: dict[str, Any] = {"count": 2, "steps": 2, "batch": 2, "seed": 0}
    with applied(model, Edit.load(edit.path("edit.safetensors"))):
        found = find_soft_prompt(model, texts, Rollout(tokens, inputs, model.schedule), **settings)
    entry = ctx.store.get("attack", attack.attack_spec(cell, edit.key))
    assert entry is not None
    stored = load_file(entry.path("vectors.safetensors"))["vectors"]
    torch.testing.assert_close(stored, found.vectors, rtol=1e-3, atol=1e-4)
    log = [json.loads(line) for line in entry.path("log.jsonl").read_text().splitlines()]
    assert [line["nll"] for line in log] == pytest.approx(found.log, rel=1e-4)


def test_guidance_is_attacked_with_the_unerased_models_vectors(ctx: RunContext) -> None:
    assert {e.spec["edit"] is None for e in ctx.store.entries("attack")} == {True, False}
    assert len(list(ctx.store.entries("attack"))) == 2  # none with neg-prompt, and uce


# --- resuming, counting, and models that cannot -----------------------------------------------


def test_the_second_run_does_nothing(root: Path) -> None:
    before = results(root)
    again = run_context(root)
    run.run(REQUEST, again)
    assert results(root) == before
    assert not again._models, "nothing was to do, and a model was loaded"


def test_what_is_lost_is_made_again_and_only_that(
    root: Path, ctx: RunContext, cells: dict[str, Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = next(t for t in attack.tasks(cells["uce"], WANTED) if t.group == "completion-1")
    entry = entry_of(ctx, cells["uce"], task)
    good = entry.path("001.png").read_bytes()
    entry.path("001.png").write_bytes(b"lost")
    drawn: list[tuple[str, str]] = []
    draw = generate.draw

    def watched(*args: Any) -> Entry:
        drawn.append((args[2], digest(args[3])))
        return draw(*args)

    monkeypatch.setattr(generate, "draw", watched)
    run.run(REQUEST, run_context(root))
    assert drawn == [(COMPLETIONS, entry.key)]
    assert entry.path("001.png").read_bytes() == good


def test_the_plan_counts_what_the_run_left(ctx: RunContext, cells: dict[str, Cell]) -> None:
    within = [
        replace(
            cell, config=replace(cell.config, suite=replace(cell.config.suite, robustness=asked))
        )
        for cell in cells.values()
        for asked in [replace(cell.config.suite.robustness, scales=(1, 4))]
    ]
    works = {work.stage: work for work in run_estimate(within, ctx, True, None).works}
    for stage in ("rollouts", "attack", COMPLETIONS, ATTACKED, "scores"):
        entries = list(ctx.store.entries(stage))
        count = {
            "scores": lambda e: len(e.spec["prompts"]),
            "rollouts": lambda e: len(e.spec["rows"]),
            "attack": lambda e: 1,
        }.get(stage, lambda e: len(e.files))
        assert works[stage].asked == works[stage].held == sum(map(count, entries)), stage
    fresh = RunContext(Store(ctx.store.root / "nowhere"), Progress())
    todo = {work.stage: work.todo for work in run_estimate(within, fresh, True, None).works}
    assert (todo["attack"], todo[COMPLETIONS], todo[ATTACKED]) == (2, 16, 12)


class _Plain:
    """A model without capabilities: what it is asked for it passes on."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.batch, self.schedule, self.sampling = model.batch, model.schedule, model.sampling
        self.name, self.device = model.name, model.device
        for name in ("encode", "null", "guidance", "generate", "decode", "logits"):
            setattr(self, name, getattr(model, name))
        for name in ("parameters", "weights", "fingerprint", "text_spaces", "text_tokens"):
            setattr(self, name, getattr(model, name))


def test_a_model_that_cannot_gets_a_note_and_its_other_numbers(
    ctx: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    able = ctx.model(plan(REQUEST)[0])
    plain = run_context(store)
    monkeypatch.setattr(RunContext, "model", lambda self, cell: _Plain(able))
    run.run(replace(REQUEST, methods=("uce",)), plain)
    found = [entry.json("cell.json") for entry in plain.store.entries("cell")]
    for body in found:
        records = {record["metric"]: record for record in body["records"]}
        assert records["acc_e"]["value"] is not None
        assert records["attack_success"]["value"] is None
        assert "HasSoftPrompts" in records["attack_success"]["note"]
        assert set(body["pictures"]) == {"target", "neighbours", "unrelated"}
        if body["method"] == "uce":
            assert records["completion"]["value"] is None
            assert "CompletesPrefix" in records["completion"]["note"]
    assert not list(plain.store.entries(COMPLETIONS)) + list(plain.store.entries("attack"))


@pytest.mark.parametrize(
    "wrong", [{"prompts": -1}, {"vectors": -1}, {"seeds": 0}, {"steps": 0}, {"batch": 0},
              {"examples": 0}, {"scales": (0,)}, {"scales": (2, 2)}],
)  # fmt: skip
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"robustness.{next(iter(wrong))}"):
        RobustnessConfig(**wrong)
