"""`varbench plan`: its counts against what a run then leaves behind, and its words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.torch import load_file

from tests.helpers.cli import TINY, varbench
from tests.helpers.plan import planned, rows
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate import text as run_estimate_text
from varbench.pipeline.estimate.memory import MemoryEstimate, memory_estimate
from varbench.pipeline.estimate.text import size
from varbench.pipeline.estimate.workload import StageWorkload, run_workload
from varbench.pipeline.plan import Request, plan
from varbench.store import Store
from varbench.utils.progress import Progress

ASKED = ["--method", "svare,scaleerasure", "--concept", "face-ada+church", "--seed", "0,1"]
SMALL = [*TINY, "pairs=2"]


@pytest.fixture(scope="module", autouse=True)
def _counted_once() -> Iterator[None]:
    """Counting the memory takes seconds, and most plans here have the same."""
    known: dict[str, MemoryEstimate | None] = {}

    def counted(*args: Any) -> MemoryEstimate | None:
        if repr(args) not in known:
            known[repr(args)] = memory_estimate(*args)
        return known[repr(args)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_estimate_text, "memory_estimate", counted)
        yield


@dataclass(frozen=True)
class Story:
    """A store, and what was planned before and after the run that filled it."""

    store: Path
    before: str
    after: str


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    store = tmp_path_factory.mktemp("planned") / "store"
    before = planned(store, *ASKED, *SMALL)
    assert not store.exists(), "planning wrote something"
    done = varbench("run", "--store", str(store), *ASKED, *SMALL)
    assert done.exit_code == 0, done.output
    return Story(store, before, planned(store, *ASKED, *SMALL))


def test_what_is_asked_is_what_a_run_leaves(story: Story) -> None:
    """Two edits of both concepts, tested on each; a sampling method has no edit and no seeds."""
    before, store = rows(story.before), Store(story.store)
    left = {stage: list(store.entries(stage)) for stage in ("edit", "pictures", "reference")}
    assert before["edit"].asked == len(left["edit"]) == 2
    for stage in ("pictures", "reference"):
        assert before[stage].asked == sum(len(entry.files) for entry in left[stage])
    histories = [load_file(e.path("rollouts.safetensors")) for e in store.entries("rollouts")]
    assert before["rollouts"].asked == sum(len(history["tokens"]) for history in histories)
    answers = [np.load(e.path("probe.npz"))["kl"] for e in store.entries("probe")]
    assert before["probe"].asked == sum(map(len, answers)) == 3 * before["rollouts"].asked
    scored = sum(len(entry.spec["prompts"]) for entry in store.entries("scores"))
    assert before["scores"].asked == scored
    assert before["cell"].asked == len(list(store.entries("cell"))) == 2 * (1 + 2 + 1)
    assert all(row.held == 0 and row.todo == row.asked for row in before.values())


def test_more_branches_are_reported(story: Story, tmp_path: Path) -> None:
    words = "runs other branches than prompt and null"
    assert f"more where scaleerasure {words}" in story.before
    assert words not in planned(tmp_path / "store", "--method", "svare", *SMALL)


def test_after_the_run_nothing_is_to_do(story: Story) -> None:
    after = rows(story.after)
    assert set(after) == {
        "edit", "pictures", "rollouts", "probe", "reference", "scores", "cell",
    }  # fmt: skip
    for stage, row in after.items():
        assert row.asked == row.held == rows(story.before)[stage].asked
        assert row.todo == 0


def looked(store: Path, seeds: tuple[int, ...]) -> dict[str, StageWorkload]:
    """As planned, without counting memory."""
    methods, concepts = ("svare", "scaleerasure"), ("face-ada+church",)
    cells = plan(Request("gallery", methods, concepts, "smoke", seeds, tuple(SMALL)))
    ctx = RunContext(Store(store), Progress(Console(stderr=True)))
    return {work.stage: work for work in run_workload(cells, ctx)}


def test_another_seed_costs_only_the_difference(story: Story) -> None:
    more = looked(story.store, (0, 1, 2))
    assert (more["edit"].required, more["edit"].todo) == (3, 1)
    one_edit = rows(story.before)["pictures"].asked // 4  # none, two edits, one guidance
    assert more["pictures"].todo == one_edit
    assert more["scores"].todo == 3 * one_edit
    assert more["cell"].todo == 2  # of both concepts; guidance has no seed
    assert (more["rollouts"].todo, more["probe"].todo) == (0, more["rollouts"].required)
    assert more["reference"].todo == 0


def test_the_disk_is_what_the_run_took(story: Story) -> None:
    store = Store(story.store)
    edits, images = (rows(story.before)[stage].rest for stage in ("edit", "pictures"))
    taken = sum(entry.files["edit.safetensors"].size for entry in store.entries("edit"))
    figure, unit = edits.split()[:2]
    assert float(figure) * {"MB": 1e6, "GB": 1e9}[unit] == pytest.approx(taken, rel=0.01)
    bound = 64 * 64 * 3 * rows(story.before)["pictures"].asked
    assert images.startswith(f"at most {size(bound)}")
    drawn = [f.size for entry in store.entries("pictures") for f in entry.files.values()]
    assert sum(drawn) < bound
    held = sum(f.size for entry in store.entries("rollouts") for f in entry.files.values())
    expected = float(rows(story.before)["rollouts"].rest.split()[0]) * 1e3
    assert expected == pytest.approx(held, rel=0.05)  # the files have headers
    assert "unknown before the first of their kind: scores" in story.before
    # Once there are some, their mean is the estimate.
    more = looked(story.store, (2,))["pictures"]
    assert more.todo == rows(story.before)["pictures"].asked // 4
    assert (more.disk, more.bound) == (round(more.todo * sum(drawn) / len(drawn)), False)
    scores = looked(story.store, (2,))["scores"]
    held = sum(f.size for entry in store.entries("scores") for f in entry.files.values())
    assert scores.disk is not None
    assert 0 < scores.disk < held


def test_missing_images_of_a_finished_run_are_seen(story: Story, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(story.store, store)
    (entry, *_) = Store(store).entries("pictures")
    shutil.rmtree(entry.path("000.png").parent)
    assert looked(store, (0, 1))["pictures"].todo == len(entry.files)


def test_settings_are_shown_instead_of_a_plan() -> None:
    shown = varbench("plan", "--show-config", "method.alpha=0.5")
    assert "alpha: 0.5" in shown.output


@pytest.mark.parametrize(("memory", "words"), [(10**6, "does not fit"), (10**12, " fits")])
def test_the_device_decides_what_fits(
    memory: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_estimate_text, "device_memory", lambda device: memory)
    text = planned(tmp_path / "store", "--method", "svare", *SMALL)
    verdict = text[text.index("device cpu has") :].splitlines()
    assert size(memory) in verdict[0]
    assert len(verdict) == 3
    assert all(line.endswith(words) for line in verdict[1:])


def test_an_impossible_training_is_reported(tmp_path: Path) -> None:
    parts = ["method.train.parts=[head]", "method.train.blocks=1"]
    text = planned(tmp_path / "store", "--method", "svare", *parts, *SMALL)
    assert "training by svare is not possible" in text
    assert "'head'" in text
    assert rows(text)["edit"].rest.startswith("at most")


def test_sizes_for_people() -> None:
    assert [size(n) for n in (7, 12_340, 9_876_543, 36_502_000_000)] == [
        "7 bytes", "12.3 kB", "9.88 MB", "36.5 GB",
    ]  # fmt: skip
