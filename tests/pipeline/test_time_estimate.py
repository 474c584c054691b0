"""Estimated times: means of the store, what is timed on the spot, and how both are extrapolated."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from tests.helpers.cli import TINY, varbench
from tests.helpers.plan import rows
from varbench.errors import UserError
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.registry import load_method
from varbench.models import registry
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate import text as run_estimate_text
from varbench.pipeline.estimate import time
from varbench.pipeline.estimate.text import duration
from varbench.pipeline.estimate.time import (
    IMAGES,
    PAIRS,
    STEPS,
    Rate,
    required_rates,
    seconds,
    stored_rates,
    timed_rates,
)
from varbench.pipeline.estimate.workload import StageWorkload, run_workload
from varbench.pipeline.plan import Cell, Request, plan
from varbench.pipeline.stages import score
from varbench.pipeline.stages.edit import edit_spec
from varbench.pipeline.task import SAMPLING
from varbench.store import Stage, Store

SMALL = (*TINY, "pairs=4")


def cells(*methods: str, overrides: tuple[str, ...] = SMALL) -> list[Cell]:
    return plan(Request("gallery", methods, ("face-ada",), "smoke", (0,), overrides))


def ctx(store: Path) -> RunContext:
    return RunContext(Store(store))


def write(store: Store, stage: str, spec: dict[str, Any], spent: float | None) -> None:
    with store.write(stage, spec) as writer:
        writer.meta["seconds"] = spent


def test_means_of_the_store_are_per_unit_and_of_the_same_work(tmp_path: Path) -> None:
    asked = cells("svare", "sld")
    model = registry.fingerprint(asked[0].config.model)
    place, (svare,) = ctx(tmp_path), [c for c in asked if c.method == "svare"]
    edit = edit_spec(svare, model)
    assert edit is not None
    other = replace(svare, config=replace(svare.config, method=load_method("svare").Config()))
    foreign = edit_spec(other, model)
    assert foreign is not None
    assert foreign["config"] != edit["config"]
    for spec, spent in (
        (edit, 10.0), (edit | {"seed": 1}, 30.0), (edit | {"seed": 2}, None),  # interrupted
        (foreign, 500.0), (edit | {"model": "another"}, 500.0), (edit | {"method": "vare"}, 500.0),
    ):  # fmt: skip
        write(place.store, "edit", spec, spent)
    for number, (steering, spent) in enumerate(
        ((None, 4.0), (None, 8.0), ({"method": "sld"}, 30.0), (None, None))
    ):
        spec = {"model": model, "steering": steering, "block": 4, "rows": [["a", number]]}
        write(place.store, "pictures", spec, spent)
    write(place.store, "pictures", {"model": "another", "steering": None, "block": 4}, 500.0)
    write(place.store, "pictures", {"elsewhere": 1, "rows": [["a", 0, "sha256"]]}, None)
    write(place.store, "scores", {"scorer": "clip", "prompts": ["a", "b"]}, 1.0)
    assert stored_rates(asked, place) == {
        ("edit", "svare"): Rate(20.0, "mean of 2 in the store"),
        ("pictures", ""): Rate(1.5, "mean of 2 in the store"),
        ("pictures", "sld"): Rate(7.5, "mean of 1 in the store"),
        ("scores", "clip"): Rate(0.5, "mean of 1 in the store"),
    }


RATES = {("edit", "svare"): Rate(60, ""), ("pictures", ""): Rate(2, ""),
         ("pictures", "sld"): Rate(3, ""), ("scores", "clip"): Rate(0.5, "")}  # fmt: skip


def work(stage: str, **loads: int) -> StageWorkload:
    rated = Stage.IMAGES if stage in SAMPLING else Stage(stage)
    found = {(rated, "" if by == "plain" else by): load for by, load in loads.items()}
    return StageWorkload(stage, "", 100, 0, loads=found)


def test_a_batch_that_is_filled_up_takes_as_long_as_a_full_one(tmp_path: Path) -> None:
    """Three groups of two prompts and two seeds, in batches of three."""
    three = cells("svare", "sld", overrides=(*SMALL, "suite.block=3"))
    loads = {w.stage: dict(w.loads) for w in run_workload(three, ctx(tmp_path))}
    assert loads["pictures"] == {("pictures", ""): 2 * 3 * 6, ("pictures", "sld"): 3 * 6}
    assert loads["rollouts"] == {("pictures", ""): 2 * 3}  # of two times two probed prompts
    assert loads["scores"]["scores", "clip"] == 3 * 3 * 4
    assert loads["edit"] == {("edit", "svare"): 1}


def test_a_stage_takes_the_sum_of_its_loads() -> None:
    assert seconds(work("pictures", plain=150, sld=50), RATES) == 2 * 150 + 3 * 50
    for stage in ("rollouts", "completions", "attacked"):
        assert seconds(work(stage, plain=100), RATES) == 2 * 100
    assert seconds(work("scores", clip=110), RATES) == 55
    assert seconds(work("edit", svare=3), RATES) == 180


def test_what_has_no_rate_has_no_estimate() -> None:
    unknown = work("scores", clip=4, judge=4)
    assert seconds(unknown, RATES) is None
    assert seconds(work("cell", plain=3), RATES) is None
    assert seconds(work("pictures"), RATES) == 0
    works = [work("edit", svare=1), work("rollouts", plain=2), unknown,
             work("pictures", plain=2), work("cell", plain=1)]  # fmt: skip
    assert required_rates(works) == [
        ("edit", "svare"), ("pictures", ""), ("scores", "clip"), ("scores", "judge"),
    ]  # fmt: skip


@dataclass
class Clock:
    """A clock that stands still but for the work that says how long it takes."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    return made


def test_an_edit_is_extrapolated_from_a_few_pairs_and_steps(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 s per pair, then steps of 0.5 s, the first of which takes 9."""
    (cell,) = (c for c in cells("svare", overrides=()) if c.method == "svare")
    pairs, steps = len(cell.erased.pairs()), cell.config.method.train.steps
    real = load_method("svare")
    seen: list[tuple[int, int]] = []

    class Slow(type(real)):  # type: ignore[misc]
        def erase(self, model: Any, concept: Any, config: Any, context: TrainingContext) -> Edit:
            seen.append((len(concept.pairs()), config.train.steps))
            clock.now += 2 * len(concept.pairs())
            with context.progress.stage("erase", config.train.steps) as bar:
                for step in range(config.train.steps):
                    clock.now += 0.5 if step else 9
                    bar.advance()
            return Edit({})

    monkeypatch.setattr(time, "load_method", lambda name: Slow())
    rate = timed_rates([cell], ctx(tmp_path), [("edit", "svare")])["edit", "svare"]
    assert seen == [(PAIRS, STEPS)]
    assert (pairs, steps) == (50, 200)
    assert rate.seconds == pytest.approx(2 * 50 + 0.5 * 200)
    assert rate.origin == "3 steps timed, 0.5 s each"


def test_a_method_without_steps_is_timed_whole(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = (c for c in cells("uce", overrides=()) if c.method == "uce")

    class Slow(type(load_method("uce"))):  # type: ignore[misc]
        def erase(self, model: Any, concept: Any, config: Any, context: TrainingContext) -> Edit:
            clock.now += 0.1 * len(concept.pairs())
            return Edit({})

    monkeypatch.setattr(time, "load_method", lambda name: Slow())
    rate = timed_rates([cell], ctx(tmp_path), [("edit", "uce")])["edit", "uce"]
    assert rate == Rate(pytest.approx(5.0), "timed")  # type: ignore[arg-type]


def test_every_required_kind_is_timed_and_nothing_stays(tmp_path: Path) -> None:
    asked = cells("svare", "neg-prompt")
    place = ctx(tmp_path / "store")
    wanted = required_rates(run_workload(asked, place))
    assert wanted == [
        ("edit", "svare"), ("pictures", ""), ("pictures", "neg-prompt"),
        ("scores", "judge"), ("scores", "clip"), ("scores", "features"),
    ]  # fmt: skip
    model = place.model(asked[0])
    before = {name: value.clone() for name, value in model.weights().state_dict().items()}
    rates = timed_rates(asked, place, wanted)
    assert list(rates) == wanted
    assert all(0 < rate.seconds < 600 for rate in rates.values())
    assert rates["pictures", ""].origin == f"{IMAGES} timed"
    assert not (tmp_path / "store").exists()
    after = model.weights().state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_cannot_be_timed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **options: Any) -> Any:
        raise UserError("no such network here")

    asked = cells("svare")
    monkeypatch.setattr(score, "score_or_isolate", missing)
    found = timed_rates(asked, ctx(tmp_path), [("pictures", ""), ("scores", "judge")])
    assert list(found) == [("pictures", "")]


# --- the command


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """Without counting memory, and with rates out of thin air; returns what was to be timed."""
    asked: list[list[tuple[str, str]]] = []

    def timed(cells: Any, ctx: Any, wanted: list[tuple[str, str]]) -> dict[Any, Rate]:
        asked.append(wanted)
        return {one: Rate(3.0, "out of thin air") for one in wanted}

    monkeypatch.setattr(run_estimate_text, "memory_estimate", lambda *args: None)
    monkeypatch.setattr(run_estimate_text, "timed_rates", timed)
    return asked


def planned(store: Path, *args: str) -> str:
    done = varbench("plan", "--store", str(store), *args, *SMALL)
    assert done.exit_code == 0, done.output
    return done.stdout[done.stdout.index("time: ") :].partition("\n\n")[0]


def test_the_plan_shows_seconds_per_unit_and_per_stage(quick: list[Any], tmp_path: Path) -> None:
    text = planned(tmp_path / "store", "--method", "svare")
    assert len(quick) == 1
    assert "an estimate" in text.splitlines()[0]
    table = {line.split()[0]: line for line in text.splitlines() if "thin air" in line}
    assert set(table) >= {"edit", "pictures", "rollouts", "scores"}
    assert re.search(r"^edit +svare +1 +3 +3 s +out of thin air", table["edit"])
    made = int(table["pictures"].split()[1])
    assert f" {duration(3 * made)} " in table["pictures"]
    assert re.search(r"^unknown for probe, .*cell, and", text.splitlines()[-1])


def test_the_time_is_the_sum_of_the_stages(quick: list[Any], tmp_path: Path) -> None:
    text = planned(tmp_path / "store", "--method", "svare")
    counted = sum(
        int(re.search(r" (\d+) +3 +", line)[1])  # type: ignore[index]
        for line in text.splitlines()
        if "thin air" in line
    )
    assert text.startswith(f"time: about {duration(3 * counted)}, ")


def test_without_timing_there_is_no_rate(quick: list[Any], tmp_path: Path) -> None:
    text = planned(tmp_path / "store", "--method", "svare", "--no-probe")
    assert not quick
    assert text.startswith("time: unknown")
    assert "edit, pictures" in text


def test_without_weights_nothing_can_be_timed(quick: list[Any], tmp_path: Path) -> None:
    empty = f"model.weights={tmp_path}"
    done = varbench("plan", "--model", "infinity-2b", "--probe", "--concept", "nudity", empty)
    assert done.exit_code == 0, done.output
    assert "time: unknown, as there are no weights to time" in done.stdout
    assert not quick


def test_a_plan_fetches_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(repository: str, *, local_files_only: bool, **how: Any) -> str:
        assert local_files_only, f"{repository} was fetched"
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    works = run_workload(
        plan(Request("infinity-2b", (), ("nudity",), "smoke", (0,))), ctx(tmp_path)
    )
    assert {work.cached for work in works} == {None}


def test_the_store_is_preferred_to_timing(quick: list[Any], tmp_path: Path) -> None:
    asked, store = cells("svare"), Store(tmp_path / "store")
    model = registry.fingerprint(asked[0].config.model)
    own = edit_spec(asked[1], model)
    assert own is not None
    write(store, "edit", own | {"seed": 7}, 41.0)
    drawn = {"model": model, "steering": None, "block": 4, "rows": []}
    write(store, "pictures", drawn, 2.0)
    for role in ("judge", "clip"):
        spec = {"scorer": role, "version": 0, "weights": "", "pictures": "", "prompts": ["a"]}
        write(store, "scores", spec, 0.25)
    text = planned(store.root, "--method", "svare")
    assert quick == [[("scores", "features")]]
    lines = {tuple(line.split()[:2]): line for line in text.splitlines()}
    assert re.search(r"^edit +svare +1 +41 +41 s +mean of 1 in the store$", lines["edit", "svare"])
    assert re.search(r" 0\.25 .* mean of 1 in the store$", lines["scores", "clip"])
    assert lines["scores", "features"].endswith("out of thin air")
    assert rows(text) == {}  # its lines are not taken for those of the stages


def test_durations_for_people() -> None:
    assert [duration(t) for t in (0.034, 42, 119, 450, 7300, 200_000)] == [
        "0.034 s", "42 s", "119 s", "7.5 min", "2 h", "2.3 days",
    ]  # fmt: skip
