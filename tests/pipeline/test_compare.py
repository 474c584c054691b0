"""The stage `compare` through the whole bench: a comparer of pixels stands in for LPIPS."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.helpers.cli import cells, small_groups, varbench
from tests.helpers.metrics import Concept, Judge
from varbench.data.prompt import Prompt
from varbench.errors import UserError
from varbench.metrics import METRICS
from varbench.metrics.base import NEEDS, OF_MODEL
from varbench.metrics.groups import Array
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.workload import run_workload
from varbench.pipeline.plan import Request, Sample, plan
from varbench.pipeline.stages.compare import next_seeds
from varbench.scoring.evaluator import Evaluator, ScorerPool
from varbench.scoring.registry import COMPARERS, JUDGES, SCORERS
from varbench.store import Stage, Store
from varbench.utils.progress import Progress

# Three seeds and blocks of four: a prompt's images go on in the next block.
SMALL = (
    *small_groups(2, 3),
    "suite.block=4",
    "suite.metrics=[acc_e,lpips_e,lpips_u,lpips_diversity]",
)
METHOD = "neg-prompt"


class Pixels:
    """Mean absolute difference of pixels."""

    version: ClassVar[int] = 1
    calls: ClassVar[list[int]] = []

    def __init__(self, *, device: str = "cpu") -> None:
        self.device = device

    def fingerprint(self) -> str:
        return "pixels"

    def compare(self, ours: Sequence[Path], theirs: Sequence[Path]) -> Array:
        Pixels.calls.append(len(ours))
        pairs = zip(ours, theirs, strict=True)
        return np.array([distance(a, b) for a, b in pairs], np.float32)


def distance(first: Path, second: Path) -> float:
    sides = []
    for file in (first, second):
        with Image.open(file) as image:
            sides.append(np.asarray(image, dtype=np.float64) / 255)
    return float(np.abs(sides[0] - sides[1]).mean())


@pytest.fixture(scope="module", autouse=True)
def _pixels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COMPARERS["gallery"], "lpips", f"{__name__}:Pixels")
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compared") / "store"
    run(place)
    return place


def run(store: Path) -> None:
    done = varbench("run", "--method", METHOD, "--store", str(store), *SMALL)
    assert done.exit_code == 0, done.output


def files(store: Path, method: str, group: str) -> dict[tuple[str, int], Path]:
    """Image files of a cell by prompt id and seed."""
    paths = {}
    for image in cells(store)[f"{method}/face-ada/0"]["pictures"][group]:
        entry = Store(store).find("pictures", image["key"])
        assert entry is not None
        paths[image["prompt_id"], image["seed"]] = entry.path(image["file"])
    return paths


def records(store: Path, method: str) -> dict[str, Any]:
    return {r["metric"]: r for r in cells(store)[f"{method}/face-ada/0"]["records"]}


def test_distances_are_those_of_the_files(store: Path) -> None:
    ours, base = (files(store, method, "target") for method in (METHOD, "none"))
    moved = [distance(file, base[key]) for key, file in ours.items()]
    between = [
        distance(file, base[prompt, seed + 1])
        for (prompt, seed), file in base.items()
        if (prompt, seed + 1) in base
    ]
    assert (len(moved), len(between)) == (6, 4)
    record = records(store, METHOD)["lpips_e"]
    assert record["value"] == pytest.approx(np.mean(moved), rel=1e-5)
    assert record["value"] > 0
    assert record["baseline"] == 0
    assert record["difference"]["value"] == pytest.approx(record["value"])
    assert record["details"]["floor"]["value"] == pytest.approx(np.mean(between), rel=1e-5)
    assert records(store, "none")["lpips_e"]["value"] == 0


def test_diversity_is_between_a_models_own_images(store: Path) -> None:
    means = {}
    for method in (METHOD, "none"):
        found = [files(store, method, group) for group in ("neighbours", "unrelated")]
        own = {key: file for group in found for key, file in group.items()}
        means[method] = np.mean(
            [distance(f, own[p, s + 1]) for (p, s), f in own.items() if (p, s + 1) in own]
        )
    diversity = records(store, METHOD)["lpips_diversity"]
    assert diversity["value"] == pytest.approx(means[METHOD], rel=1e-5)
    assert diversity["baseline"] == pytest.approx(means["none"], rel=1e-5)
    assert diversity["details"]["pairs"] == 8
    assert diversity["n"] == 12


def test_entries_have_a_row_per_image_and_belong_to_the_cell(store: Path) -> None:
    entries = list(Store(store).entries(Stage.COMPARE))
    sizes = []
    for entry in entries:
        with np.load(entry.path("scores.npz")) as arrays:
            assert {n: a.dtype for n, a in arrays.items()} == {
                "to_base": np.float32, "next_seed": np.float32,
            }  # fmt: skip
            sizes.append(len(arrays["to_base"]))
            if entry.spec["base"] == entry.spec["pictures"]:
                np.testing.assert_array_equal(arrays["to_base"], 0)
            followed = [place is not None for place in entry.spec["following"]]
            np.testing.assert_array_equal(np.isfinite(arrays["next_seed"]), followed)
    assert sum(sizes) == 2 * 18  # both models
    crossing = [
        place[0] for e in entries for place in e.spec["following"]
        if place and place[0] != e.spec["pictures"]
    ]  # fmt: skip
    assert crossing
    for cell in cells(store).values():
        named = {key for key in cell["inputs"] if key.startswith(f"{Stage.COMPARE}/")}
        assert named <= {f"{Stage.COMPARE}/{e.key}" for e in entries}
        assert named
        assert cell["provenance"]["comparers"] == {"lpips": [1, "pixels"]}


def test_the_base_model_is_compared_with_itself_by_no_call(store: Path) -> None:
    """18 images of each model, 12 of which have a next seed; only the method's have a base."""
    assert sum(Pixels.calls) == 2 * 12 + 18


def test_the_same_command_finds_everything_done(store: Path) -> None:
    before, calls = {e.key for e in Store(store).entries(Stage.COMPARE)}, len(Pixels.calls)
    for entry in Store(store).entries("cell"):  # the cells alone: their inputs are still there
        for file in entry.dir.iterdir():
            file.unlink()
        entry.dir.rmdir()
    run(store)
    assert len(cells(store)) == 2
    assert {e.key for e in Store(store).entries(Stage.COMPARE)} == before
    assert len(Pixels.calls) == calls


def test_a_plan_counts_what_a_run_leaves(store: Path, tmp_path: Path) -> None:
    asked = plan(Request("gallery", (METHOD,), ("face-ada",), "smoke", (0,), SMALL))
    works = {}
    for name, place in (("before", tmp_path / "store"), ("after", store)):
        ctx = RunContext(Store(place), Progress(Console(stderr=True)))
        found = {work.stage: work for work in run_workload(asked, ctx)}
        works[name] = found[Stage.COMPARE]
    assert (works["before"].required, works["before"].cached) == (36, 0)
    assert (works["after"].required, works["after"].cached) == (36, 36)
    assert works["before"].parts == "lpips 36"
    held = sum(f.size for e in Store(store).entries(Stage.COMPARE) for f in e.files.values())
    assert works["before"].disk is not None
    assert 0 < works["before"].disk < held  # without the headers of the files


def test_another_version_of_a_comparer_compares_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ("pictures", "scores", Stage.COMPARE)
    before = {stage: {e.key for e in Store(store).entries(stage)} for stage in stages}
    monkeypatch.setattr(Pixels, "version", 2)
    run(store)
    after = {stage: {e.key for e in Store(store).entries(stage)} for stage in stages}
    assert after["pictures"] == before["pictures"]
    assert after["scores"] == before["scores"]
    assert len(after[Stage.COMPARE]) == 2 * len(before[Stage.COMPARE])


# --- which images are compared ------------------------------------------------------------


def row(prompt: str, seed: int) -> Sample:
    return Sample(Prompt(prompt, prompt, {}), seed)


def test_the_next_seed_is_found_across_blocks_gaps_and_orders() -> None:
    todo = [
        [row("a", 0), row("b", 5), row("a", 2)],
        [row("a", 1), row("b", 9)],
        [row("c", 0)],
    ]
    assert next_seeds(todo) == [[(1, 0), (1, 1), None], [(0, 2), None], [None]]


def test_a_prompt_of_two_groups_has_its_first_images_as_next() -> None:
    """They show the same: the image follows from prompt and seed."""
    todo = [[row("a", 0), row("a", 1)], [row("a", 0), row("a", 1)]]
    assert next_seeds(todo) == [[(0, 1), None], [(0, 1), None]]


# --- needs and roles -----------------------------------------------------------------------


class Labelled(Concept):
    def labels(self, column: str) -> tuple[str, ...]:
        return ()


@dataclasses.dataclass(frozen=True)
class GalleryJudge(Judge):
    name: str = "gallery"


def test_roles_of_comparers_are_needs_and_no_scorers() -> None:
    sets = (*SCORERS.values(), *COMPARERS.values())
    roles = {role for network_set in sets for role in network_set}
    given = {f"judge.{name}" for kind in JUDGES.values() for name in kind.provides}
    assert {"lpips", *roles, *given, *OF_MODEL} == set(NEEDS)
    assert "lpips" in COMPARERS["standard"]
    for name, comparers in COMPARERS.items():
        assert not comparers.keys() & SCORERS[name].keys()


def test_only_requested_metrics_bring_a_comparer(monkeypatch: pytest.MonkeyPatch) -> None:
    concept, pool = Labelled(judge=GalleryJudge()), ScorerPool()
    without = Evaluator(concept, ["acc_e"], METRICS, pool)
    assert without.comparers == {}
    first, second = (Evaluator(concept, ["lpips_e"], METRICS, pool) for _ in "ab")
    assert first.comparers["lpips"] is second.comparers["lpips"]
    monkeypatch.delitem(COMPARERS["gallery"], "lpips")
    assert "lpips_e" not in Evaluator(concept, [], METRICS, pool).metrics
    with pytest.raises(UserError, match="none of the metrics lpips_e can be computed"):
        Evaluator(concept, ["lpips_e"], METRICS, pool)
