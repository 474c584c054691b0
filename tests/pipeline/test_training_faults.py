"""A kill between the end of a training and the storing of its edit costs no training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.cli import small_groups, varbench
from varbench.store import Entry, Stage, Store
from varbench.store.run_log import FOLDER
from varbench.store.status import events

RUN = [
    "run", "--method", "esd", *small_groups(1, 1), "suite.block=1", "suite.probe.prompts=0",
    "suite.robustness.prompts=0", "pairs=4", "suite.metrics=[acc_e]", "method.train.steps=51",
    "method.train.batch=1",
]  # fmt: skip


@pytest.mark.slow
def test_a_kill_before_the_edit_is_stored_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Store._publish

    def killed(store: Store, tmp: Path, target: Path, stage: str) -> Entry:
        if stage == Stage.EDIT:
            raise KeyboardInterrupt
        return publish(store, tmp, target, stage)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_publish", killed)
        assert varbench(*RUN, "--store", tmp_path).exit_code == 130
    assert [path.name[:9] for path in (tmp_path / "tmp").iterdir()] == ["training-"]
    done = varbench(*RUN, "--store", tmp_path)
    assert done.exit_code == 0, done.output
    *_, last = sorted((tmp_path / FOLDER).glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    trained = [e for e in events(last) if e["event"] == "stage" and "erase" in e["name"]]
    assert [event["done"] for event in trained] == [50]
    assert list((tmp_path / "tmp").iterdir()) == []
