"""Workers of another version are refused, and a Ray that does not start; no cluster is needed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from varbench.conf.schema import EngineConfig
from varbench.errors import UserError
from varbench.pipeline.engines.cluster import Cluster
from varbench.pipeline.engines.ray import Worker
from varbench.utils.origin import code, sources


class FakeRay(SimpleNamespace):
    """A cluster with room for one worker, which answers at once."""

    def __init__(self, answer: tuple[Any, ...]) -> None:
        super().__init__(exceptions=SimpleNamespace(RayError=ConnectionError))
        self.answer = answer

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 1}

    def wait(self, replies: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return replies, []

    def get(self, reply: Any) -> tuple[Any, ...]:
        return self.answer


def grown(monkeypatch: pytest.MonkeyPatch, *answer: Any) -> Cluster:
    """A cluster after one worker came and said where it is."""
    monkeypatch.setitem(sys.modules, "ray", FakeRay(answer))
    cluster = Cluster(EngineConfig("ray", workers=1), Worker, ())
    remote = SimpleNamespace(remote=lambda *args: "reply")
    cluster._actor = SimpleNamespace(remote=lambda *args: SimpleNamespace(where=remote))
    cluster.grow()
    return cluster


def test_workers_with_this_code_are_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Worker.where(SimpleNamespace())  # type: ignore[arg-type]
    (place,) = grown(monkeypatch, *where).places
    assert (place.host, place.pid) == where[:2]


@pytest.mark.parametrize("name", ["varbench", "commit", "sources", "torch"])
def test_workers_with_other_code_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words = re.escape(f"worker 7 on node-2 has {name} other (here {code()[name]}): one run")
    with pytest.raises(UserError, match=words):
        grown(monkeypatch, "node-2", 7, {**code(), name: "other"})


def test_a_change_of_any_source_file_is_other_code(tmp_path: Path) -> None:
    """Two checkouts of one commit may both be dirty, in different ways."""
    for name, text in (("a", "x = 1"), ("b", "x = 2"), ("c", "x = 1")):
        (tmp_path / name / "inside").mkdir(parents=True)
        (tmp_path / name / "inside" / "module.py").write_text(text)
    assert sources(tmp_path / "a") != sources(tmp_path / "b")
    assert sources(tmp_path / "a") == sources(tmp_path / "c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "inside").symlink_to(tmp_path / "a" / "inside")  # as `varbench/baselines`
    assert sources(tmp_path / "d") == sources(tmp_path / "a")


def test_workers_that_do_not_tell_their_version_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match=r"worker 7 on node-2 has .*varbench unknown"):
        grown(monkeypatch, "node-2", 7)


def test_ray_that_does_not_start_is_an_error_with_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setitem(
        sys.modules, "ray", SimpleNamespace(init=init, is_initialized=lambda: False)
    )
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"Ray did not start: .* timed out .* run the same command"):
        Cluster(EngineConfig("ray", workers=1), Worker, ()).__enter__()
