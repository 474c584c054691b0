"""Entries count only with the contents that they were computed from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.helpers.cli import small_groups
from tests.helpers.runs import run_context
from tests.helpers.wrong_build import inverted_colours
from varbench.pipeline.estimate.workload import run_workload
from varbench.pipeline.plan import Request, plan
from varbench.pipeline.run import run
from varbench.store import Stage, Store, cached
from varbench.utils.files import packaged

SMALL = (
    *small_groups(2, 1),
    "suite.block=2",
    "suite.probe.prompts=0",
    "suite.robustness.prompts=0",
)
REQUEST = Request("gallery", ("uce",), ("face-ada",), "smoke", (0,), SMALL)


def numbers(store: Store) -> dict[str, Any]:
    """Records of all cells, by method."""
    cells = [entry.json("cell.json") for entry in store.entries(Stage.CELL)]
    return {cell["method"]: cell["records"] for cell in cells}


def todo(store: Path) -> dict[str, int]:
    works = run_workload(plan(REQUEST), run_context(store))
    return {str(work.stage): work.todo for work in works if work.todo}


def test_images_of_a_mended_build_are_scored_anew(tmp_path: Path) -> None:
    with inverted_colours():
        run(REQUEST, run_context(tmp_path / "right-later"))
    wrong = numbers(Store(tmp_path / "right-later"))
    shutil.rmtree(tmp_path / "right-later" / "pictures")
    run(REQUEST, run_context(tmp_path / "right-later"))
    run(REQUEST, run_context(tmp_path / "fresh"))
    assert numbers(Store(tmp_path / "right-later")) == numbers(Store(tmp_path / "fresh"))
    assert numbers(Store(tmp_path / "fresh")) != wrong
    assert not todo(tmp_path / "right-later")


def test_a_plan_sees_that_images_are_others_than_were_scored(tmp_path: Path) -> None:
    with inverted_colours():
        run(REQUEST, run_context(tmp_path / "wrong"))
    run(REQUEST, run_context(tmp_path / "right"))
    assert not todo(tmp_path / "wrong")
    shutil.rmtree(tmp_path / "wrong" / "pictures")
    shutil.copytree(tmp_path / "right" / "pictures", tmp_path / "wrong" / "pictures")
    left = todo(tmp_path / "wrong")
    assert left.keys() == {"scores", "cell"} and left["cell"] == 2


def test_an_entry_without_the_digests_of_its_inputs_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    source = cached(store, Stage.IMAGES, {"a": 1}, lambda writer: None)
    cached(store, Stage.SCORES, {"b": 1}, lambda writer: None)
    entry = cached(store, Stage.SCORES, {"b": 1}, lambda writer: None, [source])
    assert entry.computed_from([source])
    assert not entry.computed_from([source], {"prompts": "a digest"})
    assert len(list(store.entries(Stage.SCORES))) == 1


def test_prompts_of_a_set_that_changed_are_run_anew(tmp_path: Path) -> None:
    """A cell's spec has only the name of a user's prompt set."""
    lines = (packaged("prompts") / "gallery-faces.csv").read_text().splitlines(keepends=True)
    ada = [line for line in lines if ",ada," in line or line.endswith(",ada\n")]
    own = tmp_path / "own.csv"
    request = replace(REQUEST, methods=(), overrides=(*SMALL, f"suite.groups.target.set={own}"))
    contents = {
        "first": ada[:2], "prompts": ada[2:4],
        "labels": [line.replace(",ada", ",elena") for line in ada[2:4]],
    }  # fmt: skip
    for name, rows in contents.items():
        own.write_text("".join([lines[0], *rows]))
        run(request, run_context(tmp_path / "one"))
        run(request, run_context(tmp_path / name))
        assert numbers(Store(tmp_path / "one")) == numbers(Store(tmp_path / name))
        assert len(list(Store(tmp_path / "one").entries(Stage.CELL))) == 1


def test_a_cell_names_all_that_it_is_computed_from(tmp_path: Path) -> None:
    store = run_context(tmp_path).store
    run(REQUEST, run_context(tmp_path))
    stages = (Stage.EDIT, Stage.IMAGES, Stage.REFERENCE, Stage.SCORES)
    stored = {entry.name for stage in stages for entry in store.entries(stage)}
    cells = [entry.json("cell.json") for entry in store.entries(Stage.CELL)]
    assert stored == {name for cell in cells for name in cell["inputs"]}
