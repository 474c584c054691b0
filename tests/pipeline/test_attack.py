"""Getting the concept back on the Gallery: what is made, from what, and that nothing is redone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.helpers.runs import cell_tasks, run_context
from tests.helpers.stores import results
from varbench.conf.schema import RobustnessConfig
from varbench.methods.base import Edit, applied
from varbench.methods.registry import NONE
from varbench.models import registry
from varbench.models.protocol import Rollout
from varbench.pipeline import run
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.workload import run_workload
from varbench.pipeline.graph import tasks_of_cell
from varbench.pipeline.plan import Cell, Request, plan
from varbench.pipeline.stages.attack import attacked_samples, example_samples
from varbench.pipeline.stages.generate import to_uint8
from varbench.pipeline.stages.soft_prompt import find_soft_prompt
from varbench.pipeline.task import Task
from varbench.store import Entry, Stage

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
REQUEST = Request("gallery", METHODS, ("face-ada",), "smoke", (0,), SMALL)


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


def edit_of(ctx: RunContext, cell: Cell) -> Edit | None:
    tasks = cell_tasks(ctx, cell, Stage.EDIT)
    return Edit.load(entry_of(ctx, tasks[0]).path("edit.safetensors")) if tasks else None


def entry_of(ctx: RunContext, task: Task) -> Entry:
    entry = ctx.store.find(task.stage, task.key)
    assert entry is not None
    return entry


def attack_of(ctx: RunContext, cell: Cell) -> Entry:
    """The vectors that are found on a cell's model."""
    (task,) = cell_tasks(ctx, cell, Stage.ATTACK)
    return entry_of(ctx, task)


def same_images(entry: Entry, images: Any) -> None:
    for i in range(len(entry.files)):
        stored = np.array(Image.open(entry.path(f"{i:03d}.png")))
        np.testing.assert_array_equal(stored, images[i])


# --- what is made ---------------------------------------------------------------------------


def with_robustness(cell: Cell, settings: RobustnessConfig) -> Cell:
    suite = replace(cell.config.suite, robustness=settings)
    return replace(cell, config=replace(cell.config, suite=suite))


def attempts(ctx: RunContext, cell: Cell) -> set[str]:
    """The groups of images that a cell has besides the plain ones."""
    return {task.label for task in tasks_of_cell(ctx, cell).attacks}


def test_some_target_prompts_with_their_first_seeds_are_attacked(
    ctx: RunContext, cells: dict[str, Cell]
) -> None:
    cell = cells[NONE]
    samples, target = attacked_samples(cell), cell.groups()["target"]
    assert [s for s in target if s in samples] == samples and len(samples) == 4
    fewer = with_robustness(cell, RobustnessConfig(prompts=100, seeds=1))
    assert [s.seed for s in attacked_samples(fewer)] == [0, 0, 0]
    nothing = with_robustness(cell, RobustnessConfig())
    assert attacked_samples(nothing) == example_samples(nothing) == []
    assert not attempts(ctx, nothing) and not cell_tasks(ctx, nothing, Stage.ATTACK)


def test_only_what_metrics_need_is_tried(ctx: RunContext, cells: dict[str, Cell]) -> None:
    completed = {"completion-1", "completion-4"}  # the Gallery has five scales

    def needing(method: str, metric: str) -> set[str]:
        cell = cells[method]
        suite = replace(cell.config.suite, metrics=(metric,))
        return attempts(ctx, replace(cell, config=replace(cell.config, suite=suite)))

    assert needing("uce", "acc_e") == set()
    assert needing("uce", "completion") == completed
    assert needing("uce", "attack_success") == {"attack"}
    assert attempts(ctx, cells["uce"]) == completed | {"attack"}
    assert attempts(ctx, cells[NONE]) == {"attack"}


def test_examples_are_training_prompts_over_all_pairs(cells: dict[str, Cell]) -> None:
    samples, pairs = example_samples(cells["uce"]), cells["uce"].concept.pairs()
    texts = [pair.concept for pair in pairs]
    assert [texts.index(sample.prompt.text) for sample in samples] == [0, 12, 25, 37]
    tested = {
        p.text for group in ("target", "neighbours") for p in cells["uce"].concept.group(group)
    }  # type: ignore[arg-type]
    assert not tested & {sample.prompt.text for sample in samples}


def test_each_model_has_the_groups_that_it_can_give(bodies: dict[str, Any]) -> None:
    plain = {"target": 6, "neighbours": 1, "unrelated": 1}
    tried = {"completion-1": 4, "completion-4": 4, "attack": 4}  # the Gallery has five scales
    for method, body in bodies.items():
        groups = {name: len(shots) for name, shots in body["pictures"].items()}
        assert groups == plain | (tried if method != NONE else {"attack": 4})
        for name, shots in body["pictures"].items():
            kind = Stage.COMPLETIONS if "completion" in name else Stage.ATTACKED
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
    drawn = {
        e.key for stage in (Stage.COMPLETIONS, Stage.ATTACKED) for e in ctx.store.entries(stage)
    }
    scored = [e for e in ctx.store.entries("scores") if e.spec["pictures"] in drawn]
    assert {e.spec["scorer"] for e in scored} == {"judge"}
    assert {e.spec["pictures"] for e in scored} == drawn


def test_only_the_cell_knows_of_robustness(ctx: RunContext, cells: dict[str, Cell]) -> None:
    """All other keys are those of a suite that tries nothing."""
    cell = cells["uce"]
    without = with_robustness(cell, RobustnessConfig())
    for stage in (Stage.EDIT, Stage.IMAGES):
        keys = [task.key for task in cell_tasks(ctx, cell, stage)]
        assert keys == [task.key for task in cell_tasks(ctx, without, stage)]
    images = cell_tasks(ctx, cells[NONE], Stage.IMAGES)[0]
    assert set(images.spec) == {
        "version", "model", "edit", "steering", "sampling", "batch", "strict", "block", "rows",
    }  # fmt: skip
    rollouts = cell_tasks(ctx, cell, Stage.ROLLOUTS)[0]
    assert rollouts.spec == {**images.spec, "rollouts": 1, "rows": rollouts.spec["rows"]}


# --- from what it is made -------------------------------------------------------------------


def completed(
    ctx: RunContext, cell: Cell, task: Task, scales: int, edit: Edit | None = None
) -> Rollout:
    """Images that continue the first scales of the base model's."""
    model: Any = ctx.model(cell)
    text = model.encode([sample.prompt.text for sample in task.samples])
    keys = [(sample.prompt.id, sample.seed) for sample in task.samples]
    generated = model.generate(text, keys, guidance=model.guidance(2.0))
    guidance = ctx.guidance(cell, model)
    with applied(model, edit):
        made: Rollout = model.complete(text, generated, scales, keys, guidance=guidance)
    assert not torch.equal(made.tokens, generated.tokens)
    return made


@pytest.mark.parametrize("method", METHODS)
def test_a_completion_continues_the_base_models_image(
    method: str, ctx: RunContext, cells: dict[str, Cell]
) -> None:
    cell = cells[method]
    task = cell_tasks(ctx, cell, Stage.COMPLETIONS, "completion-4")[0]
    assert len(task.samples) == 3  # a whole batch, so that nothing fills it up
    made = completed(ctx, cell, task, 4, edit_of(ctx, cell))
    same_images(entry_of(ctx, task), to_uint8(ctx.model(cell).decode(made)))


def test_a_short_batch_is_filled_up_without_a_trace(
    ctx: RunContext, cells: dict[str, Cell]
) -> None:
    cell = cells["neg-prompt"]
    task = cell_tasks(ctx, cell, Stage.COMPLETIONS, "completion-1")[-1]
    assert len(task.samples) == 1
    entry, made = entry_of(ctx, task), completed(ctx, cell, task, 1)
    assert list(entry.files) == ["000.png"]
    same_images(entry, to_uint8(ctx.model(cell).decode(made)))


@pytest.mark.parametrize("method", [NONE, *METHODS])
def test_attacked_images_have_the_vectors_before_their_prompts(
    method: str, ctx: RunContext, cells: dict[str, Cell]
) -> None:
    cell = cells[method]
    model: Any = ctx.model(cell)
    task = cell_tasks(ctx, cell, Stage.ATTACKED)[0]
    vectors = load_file(attack_of(ctx, cell).path("vectors.safetensors"))["vectors"]
    assert vectors.shape == (2, 128)
    soften = model.soft_prompts([sample.prompt.text for sample in task.samples])
    keys = [(sample.prompt.id, sample.seed) for sample in task.samples]
    guidance = ctx.guidance(cell, model)
    with applied(model, edit_of(ctx, cell)):
        made = model.generate(soften(vectors), keys, guidance=guidance)
    same_images(entry_of(ctx, task), to_uint8(model.decode(made)))


def test_an_attack_is_found_on_the_edited_model(ctx: RunContext, cells: dict[str, Cell]) -> None:
    """Its first loss is that of the edited model on the base model's roll-outs."""
    cell, model = cells["uce"], ctx.model(cells["uce"])
    samples = example_samples(cell)
    rollouts = [
        model.generate(
            model.encode([s.prompt.text]), [(s.prompt.id, 0)], guidance=model.guidance(2.0)
        )
        for s in samples
    ]
    history, texts = Rollout.joined(rollouts), [s.prompt.text for s in samples]
    with applied(model, edit_of(ctx, cell)):
        vectors, nlls = find_soft_prompt(model, texts, history, count=2, steps=2, batch=2, seed=0)
    entry = attack_of(ctx, cell)
    stored = load_file(entry.path("vectors.safetensors"))["vectors"]
    torch.testing.assert_close(stored, vectors, rtol=1e-3, atol=1e-4)
    log = [json.loads(line) for line in entry.path("log.jsonl").read_text().splitlines()]
    assert [line["nll"] for line in log] == pytest.approx(nlls, rel=1e-4)


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
    root: Path, ctx: RunContext, cells: dict[str, Cell], tmp_path: Path
) -> None:
    task = cell_tasks(ctx, cells["uce"], Stage.COMPLETIONS, "completion-1")[0]
    copy = tmp_path / "store"
    shutil.copytree(root, copy)
    damaged = run_context(copy)
    entry = entry_of(damaged, task)
    good, before = entry.path("001.png").read_bytes(), results(copy)
    entry.path("001.png").write_bytes(b"lost")
    run.run(REQUEST, run_context(copy))
    after = {path: stamp for path, stamp in results(copy).items() if "damaged" not in path.parts}
    changed = {path for path, stamp in after.items() if before.get(path) != stamp}
    assert changed == set(entry.dir.iterdir())
    assert entry.path("001.png").read_bytes() == good


def test_the_plan_counts_what_the_run_left(ctx: RunContext, cells: dict[str, Cell]) -> None:
    every = list(cells.values())
    stages = {w.stage: w for w in run_workload(every, ctx)}
    for stage in (Stage.ROLLOUTS, Stage.ATTACK, Stage.COMPLETIONS, Stage.ATTACKED, Stage.SCORES):
        entries = list(ctx.store.entries(stage))
        count = {
            Stage.SCORES: lambda e: len(e.spec["prompts"]),
            Stage.ROLLOUTS: lambda e: len(e.spec["rows"]),
            Stage.ATTACK: lambda e: 1,
        }.get(stage, lambda e: len(e.files))
        required = sum(map(count, entries))
        assert stages[stage].required == stages[stage].cached == required, stage
    fresh = run_context(ctx.store.root / "nowhere")
    todo = {w.stage: w.todo for w in run_workload(every, fresh)}
    attempted = (Stage.ATTACK, Stage.COMPLETIONS, Stage.ATTACKED)
    assert [todo[stage] for stage in attempted] == [2, 16, 12]


def test_a_plan_counts_no_attack_that_the_model_cannot_do(tmp_path: Path) -> None:
    """Switti completes images but reads no soft prompts; its weights are not here."""
    cells = plan(replace(REQUEST, model="switti", methods=("esd",)))
    stages = run_workload(cells, run_context(tmp_path))
    todo = {workload.stage: workload.todo for workload in stages}
    assert todo[Stage.COMPLETIONS] == 3 * 4 and not {Stage.ATTACK, Stage.ATTACKED} & todo.keys()


class _Plain:
    """A model without capabilities: what it is asked for it passes on."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.batch, self.schedule, self.sampling = model.batch, model.schedule, model.sampling
        self.name, self.device = model.name, model.device
        for name in ("encode", "null", "guidance", "generate", "decode", "logits"):
            setattr(self, name, getattr(model, name))
        for name in ("parameters", "weights", "text_spaces", "text_tokens"):
            setattr(self, name, getattr(model, name))


@pytest.mark.parametrize("declared", [True, False])
def test_a_model_that_cannot_gets_a_note_and_its_other_numbers(
    ctx: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, declared: bool
) -> None:
    """Its class says so, or a plugin's module names no class and the model is loaded."""
    able = ctx.model(plan(REQUEST)[0])
    plain = run_context(tmp_path / "store")
    monkeypatch.setattr(registry, "load_model", lambda config, device: _Plain(able))
    monkeypatch.setattr(registry, "offers", lambda *args: False if declared else None)
    run.run(replace(REQUEST, methods=("uce",)), plain)
    bodies = [entry.json("cell.json") for entry in plain.store.entries(Stage.CELL)]
    assert len(bodies) == 2
    for body in bodies:
        records = {record["metric"]: record for record in body["records"]}
        assert records["acc_e"]["value"] is not None
        assert records["attack_success"]["value"] is None
        assert "HasSoftPrompts" in records["attack_success"]["note"]
        assert set(body["pictures"]) == {"target", "neighbours", "unrelated"}
        if body["method"] == "uce":
            assert records["completion"]["value"] is None
            assert "CompletesPrefix" in records["completion"]["note"]
    attempts = (Stage.COMPLETIONS, Stage.ATTACK)
    assert not [entry for stage in attempts for entry in plain.store.entries(stage)]


@pytest.mark.parametrize(
    "wrong", [{"prompts": -1}, {"vectors": -1}, {"seeds": 0}, {"steps": 0}, {"batch": 0},
              {"examples": 0}, {"scales": (0,)}, {"scales": (2, 2)}],
)  # fmt: skip
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"robustness.{next(iter(wrong))}"):
        RobustnessConfig(**wrong)
