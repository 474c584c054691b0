"""Strict mode: the same bits over batch sizes and thread counts, from the edit to the numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.ray_cluster import finish, start
from varbench.store import Store

pytestmark = pytest.mark.slow
TRAINED = ["--method", "svare", "method.train.steps=4", "pairs=4"]


def bits(store: Path) -> dict[str, Any]:
    """The results of a run: edits, images by what they show, and records."""
    made = Store(store)
    edits = [entry.files["edit.safetensors"].sha256 for entry in made.entries("edit")]
    images: dict[Any, str] = {}
    records = {}
    for entry in made.entries("cell"):
        cell = entry.json("cell.json")
        for group, shots in cell["pictures"].items():
            for shot in shots:
                drawn = made.find(shot["stage"], shot["key"])
                assert drawn is not None
                data = drawn.path(shot["file"]).read_bytes()
                key = (cell["method"], group, shot["prompt_id"], shot["seed"])
                images[key] = hashlib.sha256(data).hexdigest()
        for record in cell["records"]:
            kept = {k: v for k, v in record.items() if k != "config"}
            records[cell["method"], record["metric"]] = kept
    return {"edits": edits, "pictures": images, "records": records}


def test_threads_and_batches_change_no_bit_in_strict_mode(tmp_path: Path) -> None:
    ways = {
        "one": (["suite.block=4", "model.batch=50"], "1"),
        "two": (["suite.block=3", "model.batch=2"], "2"),
    }
    outputs = {}
    for name, (overrides, threads) in ways.items():
        strict = ["model.strict=true", *overrides]
        finish(start(tmp_path / name, *TRAINED, *strict, OMP_NUM_THREADS=threads))
        outputs[name] = bits(tmp_path / name)
    assert outputs["one"]["edits"] == outputs["two"]["edits"] != []
    assert outputs["one"]["pictures"] == outputs["two"]["pictures"] != {}
    assert outputs["one"]["records"] == outputs["two"]["records"] != {}


def test_strict_and_other_runs_share_nothing_that_rounding_decides(tmp_path: Path) -> None:
    finish(start(tmp_path, *TRAINED))
    before = {
        e.key for stage in ("edit", "pictures", "scores") for e in Store(tmp_path).entries(stage)
    }
    finish(start(tmp_path, *TRAINED, "model.strict=true"))
    for stage in ("edit", "pictures", "scores"):
        strict = {e.key for e in Store(tmp_path).entries(stage)} - before
        assert len(strict) == len([e for e in Store(tmp_path).entries(stage) if e.key in before])
