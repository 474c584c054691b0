"""Two runs on one store compute no entry twice, in any stage."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.cli import small_groups
from tests.helpers.image_folder import export_cell, write_manifest
from tests.helpers.runs import run_context
from varbench.metrics.groups import Array
from varbench.pipeline import run
from varbench.pipeline.external.job import ScoreRequest, plan_scoring
from varbench.pipeline.external.score import score
from varbench.pipeline.plan import Request, plan
from varbench.scoring.registry import COMPARERS
from varbench.store import Stage, Store, Writer, cached, digest

SMALL = (
    *small_groups(2, 2),
    "suite.block=2",
    "suite.probe.prompts=1",
    "suite.robustness.prompts=1",
    "suite.robustness.scales=[1]",
    "suite.robustness.examples=2",
    "suite.robustness.steps=1",
)
REQUEST = Request("gallery", ("uce",), ("face-ada",), "smoke", (0,), SMALL)
OF_RELEASED_MODELS, OF_ABLATIONS = Stage.TEXT, Stage.ABLATION


class SomeComparer:
    """Stands in for LPIPS."""

    version = 1

    def __init__(self, *, device: str = "cpu") -> None:
        self.device = device

    def fingerprint(self) -> str:
        return "some"

    def compare(self, ours: Sequence[Path], theirs: Sequence[Path]) -> Array:
        return np.ones(len(ours), np.float32)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """Count of computations of each entry, by stage and key: all are written through the store."""
    counts: Counter[tuple[str, str]] = Counter()
    write = Store.write

    @contextmanager
    def counted(self: Store, stage: str, spec: Mapping[str, Any]) -> Iterator[Writer]:
        counts[str(stage), digest(spec)] += 1
        with write(self, stage, spec) as writer:
            yield writer

    monkeypatch.setattr(Store, "write", counted)
    return counts


def twice_at_once(work: Callable[[], object]) -> None:
    """The same work in two threads that begin together."""
    together, errors = threading.Barrier(2), []

    def begin() -> None:
        together.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


@pytest.mark.parametrize("stage", Stage)
def test_an_entry_is_computed_once(
    stage: Stage, tmp_path: Path, written: Counter[tuple[str, str]]
) -> None:
    """The second of two waits for the first, however long that takes."""
    computing, entries = threading.Event(), []

    def compute(writer: Writer) -> None:
        assert not computing.is_set(), "computed twice"
        computing.set()
        (writer.dir / "file").write_bytes(b"1")

    twice_at_once(lambda: entries.append(cached(Store(tmp_path), stage, {"a": 1}, compute)))
    assert entries[0] == entries[1] and entries[0].meta["inputs"] == {}
    assert set(written.values()) == {1}


def test_nothing_is_stored_when_a_computation_fails(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def broken(writer: Writer) -> None:
        (writer.dir / "file").write_bytes(b"1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cached(store, Stage.EDIT, {"a": 1}, broken)
    assert store.get(Stage.EDIT, {"a": 1}) is None and not list((tmp_path / "tmp").iterdir())
    assert cached(store, Stage.EDIT, {"a": 1}, lambda writer: None)  # the lock is free


def test_two_runs_share_every_stage(
    tmp_path: Path, written: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMPARERS["gallery"], "lpips", f"{__name__}:SomeComparer")
    root, cells = tmp_path / "store", plan(REQUEST)
    monkeypatch.setattr(run, "plan", lambda request: cells)  # Hydra composes in one thread only
    contexts = [run_context(root) for _ in range(2)]
    for ctx in contexts:
        ctx.model(cells[0])  # transformers loads models in one thread only, too
    twice_at_once(lambda: run.run(REQUEST, contexts.pop()))
    assert set(written.values()) == {1}
    store = Store(root)
    assert set(written) == {(stage, entry.key) for stage in Stage for entry in store.entries(stage)}
    assert {stage for stage, _ in written} == {*Stage} - {OF_RELEASED_MODELS, OF_ABLATIONS}


def test_two_imports_of_one_folder_share_the_work(
    small_store: Path, tmp_path: Path, written: Counter[tuple[str, str]]
) -> None:
    store = Store(small_store)
    bodies = [entry.json("cell.json") for entry in store.entries(Stage.CELL)]
    body = next(body for body in bodies if body["method"] == "none")
    write_manifest(tmp_path / "images", export_cell(store, body, tmp_path / "images"))
    job = plan_scoring(ScoreRequest(tmp_path / "images", "face-ada", "none"))
    twice_at_once(lambda: score(job, run_context(tmp_path / "store")))
    assert set(written.values()) == {1}
    assert {stage for stage, _ in written} >= {Stage.IMAGES, Stage.SCORES, Stage.CELL}
