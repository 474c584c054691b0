"""`varbench run` on the Gallery with a handful of images."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import SMALL, SMALL_BASE, cells, varbench
from tests.helpers.stores import results
from varbench.metrics.base import OF_MODEL
from varbench.models import registry
from varbench.store import Store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one small run of three methods in it; never changed, see `copied`."""
    store = tmp_path_factory.mktemp("finished") / "store"
    result = varbench("run", "--method", "svare,naive", "--store", str(store), *SMALL)
    assert result.exit_code == 0, result.output
    assert "svare" in result.output
    assert "none" in result.output
    return store


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished store, for tests that change it."""
    return shutil.copytree(finished, tmp_path / "copied")


def test_every_metric_of_every_method_is_recorded(finished: Path) -> None:
    from varbench.metrics import METRICS

    available = {"judge", "clip", "features", *OF_MODEL}  # the Gallery's scorers
    metrics = {name for name, m in METRICS.items() if available.issuperset(m.info.needs)}
    recorded = cells(finished)
    assert set(recorded) == {"none/face-ada/0", "svare/face-ada/0", "naive/face-ada/0"}
    for cell in recorded.values():
        assert {r["metric"] for r in cell["records"]} == metrics
        assert cell["provenance"]["model_fingerprint"]
        assert cell["provenance"]["versions"]["torch"]
        assert cell["resolved_config"]["model"]["sampling"]["guidance"] > 0
    none = {r["metric"]: r for r in recorded["none/face-ada/0"]["records"]}
    assert none["fid_base"]["value"] == pytest.approx(0, abs=1e-4)
    assert none["acc_n"]["difference"]["value"] == 0


def test_images_are_listed_and_there(finished: Path) -> None:
    store = Store(finished)
    for cell in cells(finished).values():
        assert {k: len(v) for k, v in cell["pictures"].items()} == {
            "target": 6, "neighbours": 6, "unrelated": 6,
        }  # fmt: skip
        for group in cell["pictures"].values():
            for image in group:
                entry = store.find("pictures", image["key"])
                assert entry is not None
                assert entry.path(image["file"]).read_bytes().startswith(b"\x89PNG")


def test_the_same_command_does_nothing_twice(finished: Path) -> None:
    before = results(finished)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load_model", lambda *_: pytest.fail("a model was loaded"))
        result = varbench("run", "--method", "svare,naive", "--store", str(finished), *SMALL)
    assert result.exit_code == 0, result.output
    assert results(finished) == before


def test_a_new_method_costs_only_the_difference(copied: Path) -> None:
    before = {e.key for e in Store(copied).entries("pictures")}
    result = varbench("run", "--method", "vare", "--store", str(copied), *SMALL)
    assert result.exit_code == 0, result.output
    store = Store(copied)
    fresh = {e.key for e in store.entries("pictures")} - before
    edits = {store.find("pictures", key).spec["edit"] for key in fresh}  # type: ignore[union-attr]
    assert len(edits) == 1
    assert None not in edits


def test_a_damaged_image_is_noticed_and_redone(copied: Path, caplog: Any) -> None:
    before = cells(copied)["svare/face-ada/0"]
    victim = next(e for e in Store(copied).entries("pictures") if e.spec["edit"] is not None)
    key, file = victim.key, victim.path("000.png")
    good = file.read_bytes()
    file.write_bytes(good[:-7] + bytes([good[-7] ^ 1]) + good[-6:])
    result = varbench("run", "--method", "svare,naive", "--store", str(copied), *SMALL)
    assert result.exit_code == 0, result.output
    assert any(key[:12] in r.getMessage() or "000.png" in r.getMessage() for r in caplog.records)
    assert Store(copied).find("pictures", key).path("000.png").read_bytes() == good  # type: ignore[union-attr]
    assert cells(copied)["svare/face-ada/0"] == before


def test_a_stored_cell_repeats_itself(finished: Path, tmp_path: Path) -> None:
    entry = next(
        e for e in Store(finished).entries("cell") if e.json("cell.json")["method"] == "svare"
    )
    other = tmp_path / "store"
    result = varbench("run", "--from", str(entry.path("cell.json")), "--store", str(other))
    assert result.exit_code == 0, result.output
    assert cells(other)["svare/face-ada/0"] == cells(finished)["svare/face-ada/0"]


@pytest.mark.slow
def test_block_size_of_other_groups_does_not_matter(finished: Path, tmp_path: Path) -> None:
    """A smaller suite makes a subset of the same images, bit for bit."""
    small = [o for o in SMALL if "neighbours" not in o and "unrelated" not in o]
    store = tmp_path / "store"
    fewer = ["suite.groups.neighbours.prompts=2", "suite.groups.unrelated.prompts=2"]
    seeds = ["suite.groups.neighbours.seeds=2", "suite.groups.unrelated.seeds=2"]
    result = varbench("run", "--method", "none", "--store", str(store), *small[:2], *fewer, *seeds,
                      "suite.block=4")  # fmt: skip
    assert result.exit_code == 0, result.output

    def bits(root: Path) -> dict[Any, bytes]:
        made = {}
        for e in Store(root).entries("pictures"):
            if e.spec["edit"] is None:
                for i, row in enumerate(e.spec["rows"]):
                    made[tuple(row)] = e.path(f"{i:03d}.png").read_bytes()
        return made

    ours, theirs = bits(store), bits(finished)
    shared = ours.keys() & theirs.keys()
    assert len(shared) >= 6
    assert all(ours[k] == theirs[k] for k in shared)


def test_show_config_prints_and_stops(tmp_path: Path) -> None:
    result = varbench("run", "--show-config", "--store", str(tmp_path / "s"), "method.alpha=0.5")
    assert result.exit_code == 0
    assert "alpha: 0.5" in result.output
    assert "rate: 0.00025" in result.output  # the Gallery config
    assert not (tmp_path / "s").exists()


def test_a_users_own_concept_runs_and_repeats(tmp_path: Path) -> None:
    from importlib import resources

    text = (resources.files("varbench.conf") / "concept" / "church.yaml").read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace("name: church", "name: my-church"))
    store = tmp_path / "store"
    result = varbench(
        "run", "--method", "none", "--concept", str(mine), "--store", str(store), *SMALL_BASE
    )
    assert result.exit_code == 0, result.output
    mine.unlink()
    entry = next(iter(Store(store).entries("cell")))
    other = tmp_path / "other"
    result = varbench("run", "--from", str(entry.path("cell.json")), "--store", str(other))
    assert result.exit_code == 0, result.output
    ours, theirs = cells(store), cells(other)
    assert ours["none/my-church/0"]["records"] == theirs["none/my-church/0"]["records"]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["edit", "pictures", "scores", "cell"])
def test_killed_anywhere_the_same_command_ends_at_the_same_json(
    finished: Path, tmp_path: Path, stage: str
) -> None:
    """SIGKILL while a stage is being written, then run again: same cells, finished work kept."""
    store = tmp_path / "store"
    command = [sys.executable, "-m", "varbench.cli", "run", "--store", str(store), *SMALL]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if stage == "edit":
            busy = any((store / "locks").rglob("*")) and any((store / "pictures").glob("*/*"))
        else:
            busy = sum(1 for _ in (store / stage).glob("*/*/manifest.json")) >= 1
        if busy:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.005)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    kept = {p: p.stat().st_mtime_ns for p in store.glob("*/*/*/manifest.json")}
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items()), "finished work was redone"
    wanted = {k: v for k, v in cells(finished).items() if k.split("/")[0] in {"none", "svare"}}
    assert json.dumps(cells(store), sort_keys=True) == json.dumps(wanted, sort_keys=True)


def test_drift_and_cost_are_recorded_and_no_cell_holds_a_time(finished: Path) -> None:
    for entry in Store(finished).entries("cell"):
        cell = entry.json("cell.json")
        stages = {key.partition("/")[0] for key in cell["inputs"]}
        edited = {"edit"} if cell["method"] != "none" else set()
        assert stages == {"pictures", "scores", "rollouts", "probe", "reference"} | edited
        drift = {r["metric"]: r["value"] for r in cell["records"]}
        assert (drift["ld1"] > 0) == (drift["ld2"] != 1) == bool(edited)
        assert "seconds" not in entry.path("cell.json").read_text(encoding="utf-8")
    cost = varbench("report", "--store", str(finished), "--table", "cost")
    assert cost.exit_code == 0, cost.output
    assert "svare" in cost.output and "Erasing, s" in cost.output and "none " not in cost.output
