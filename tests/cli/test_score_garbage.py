"""Garbage on the erased prompts is said: its share stands beside the rate, and in its note."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.cli import varbench
from tests.helpers.detections import NUDE_CONCEPT
from tests.helpers.image_folder import cells, export_cell, noise_folder, score, write_manifest
from varbench.data.concept_files import load_concept
from varbench.metrics import METRICS
from varbench.metrics.groups import Array
from varbench.metrics.nudity import NUDITY
from varbench.metrics.nudity_protocols import CLASSES
from varbench.pipeline.external import job
from varbench.scoring.scorers import detections
from varbench.store import Store

SMALL = [
    "suite.groups.target.prompts=16", "suite.groups.target.seeds=2", "suite.block=16",
    *(f"suite.groups.{name}.{size}=2" for name in ("neighbours", "unrelated")
      for size in ("prompts", "seeds")),
    "suite.probe.prompts=0", "suite.robustness.prompts=0",
]  # fmt: skip


def records_of(store: Path, method: str) -> dict[str, Any]:
    (cell,) = (cell for name, cell in cells(store).items() if name.endswith(f"/{method}"))
    return {record["metric"]: record for record in cell["records"]}


def test_noise_on_the_gallerys_prompts(tmp_path: Path) -> None:
    done = varbench("run", "--method", "none", "--store", tmp_path / "store", *SMALL)
    assert done.exit_code == 0, done.output
    base = cells(tmp_path / "store")["gallery/none"]
    rows = export_cell(Store(tmp_path / "store"), base, tmp_path / "none")
    write_manifest(tmp_path / "none", rows)
    own = {record["metric"]: record for record in base["records"]}
    assert own["unrecognised"]["value"] <= 0.02
    assert "unrecognised" not in own["acc_e"]["note"]

    prompts = dict.fromkeys(row["prompt"] for row in rows if row["group"] == "target")
    noise_folder(tmp_path / "noise", prompts)
    args = ("--method", "noise", "--against", tmp_path / "none")
    done = score(tmp_path / "noise", tmp_path / "scored", *args)
    assert done.exit_code == 0, done.output
    assert "Unrecognised" in done.stdout
    noise = records_of(tmp_path / "scored", "noise")
    share = noise["unrecognised"]
    assert share["value"] >= 0.95 and share["baseline"] == own["unrecognised"]["value"]
    assert share["difference"]["low"] > 0.8
    assert noise["erasure_rate"]["value"] > 0.8, "that is why it must be said"
    for metric in ("erasure_rate", "acc_e"):
        note = noise[metric]["note"]
        assert "is seen in 0% of the target pictures, in 100% of the unerased" in note, note


class SmoothIsNude:
    """A session of NudeNet that sees a bare woman in images without noise, and nothing else."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def run(self, names: Any, inputs: dict[str, Array]) -> list[Array]:
        (boxes,) = self.session.run(names, inputs)
        (image,) = inputs.values()
        boxes[:, 4:] = 0
        if np.abs(np.diff(image, axis=-1)).mean() < 0.02:
            for i, name in enumerate(("FACE_FEMALE", "FEMALE_BREAST_EXPOSED")):
                boxes[:, :4, i] = 40 + 100 * i, 40 + 100 * i, 30, 30
                boxes[:, 4 + CLASSES.index(name), i] = 0.9
        return [boxes]


@pytest.mark.parametrize("prompts", [3, 8])
def test_noise_on_nude_prompts_beside_healthy_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompts: int
) -> None:
    """Of three prompts no test could tell; what is gone altogether is said all the same."""
    open_session = detections.open_session
    monkeypatch.setattr(detections, "open_session", lambda path: SmoothIsNude(open_session(path)))
    seen = ("judge", "judge.detected", "judge.detected_score", "judge.detected_count")
    without_clip = {id: m for id, m in METRICS.items() if {*m.info.needs} <= {*seen}}
    monkeypatch.setattr(job, "METRICS", without_clip)
    counts = {"prompts": prompts, "neighbours": prompts}
    (tmp_path / "bare.yaml").write_text(
        NUDE_CONCEPT.format(head="varbench", label="exposed", **counts)
    )
    concept = load_concept(tmp_path / "bare.yaml")
    targets, others = ([p.text for p in concept.group(g)] for g in ("target", "neighbours"))
    for folder in ("none", "noise"):
        rows = noise_folder(tmp_path / folder, [*targets, *others], seeds=12)
        for row in rows:
            if folder == "none" or row["prompt"] in others:
                Image.new("RGB", (64, 64), (180, 140, 120)).save(tmp_path / folder / row["file"])
    done = varbench(
        "score", tmp_path / "noise", "--concept", tmp_path / "bare.yaml", "--method", "noise",
        "--against", tmp_path / "none", "--store", tmp_path / "store",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    noise = records_of(tmp_path / "store", "noise")
    assert (noise["unrecognised"]["value"], noise["unrecognised"]["baseline"]) == (1, 0)
    assert (noise["valid_person"]["value"], noise["valid_person_target"]["value"]) == (1, 0)
    assert noise["erasure_rate"]["value"] == 1, noise["erasure_rate"]["note"]
    assert noise["nudity_varbench"]["value"] == 0
    for id in ("erasure_rate", "acc_e", *(metric.info.id for metric in NUDITY)):
        note = noise[id]["note"]
        assert "is seen in 0% of the target pictures, in 100% of the unerased" in note, (id, note)
        assert "neighbours" not in note
    for record in records_of(tmp_path / "store", "none").values():
        assert "is seen in" not in record["note"]
    done = varbench("report", "--store", tmp_path / "store", "--format", "json")
    shown = {r["metric"]: r for r in json.loads(done.stdout) if r["method"] == "noise"}
    assert shown["unrecognised"]["value"] == 1
