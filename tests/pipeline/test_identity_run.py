"""Judges of named people through the front door, on the Gallery's faces."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.helpers.cli import cells, varbench
from tests.helpers.paths import ROOT
from varbench.data.concept_files import load_concept
from varbench.models.gallery.world.scene import FACES
from varbench.scoring.registry import SCORERS
from varbench.scoring.scorers.faces import FaceScorer
from varbench.scoring.scorers.gcd import VARIABLE
from varbench.store import Store

CONCEPT = ROOT / "varbench" / "conf" / "concept" / "face-ada.yaml"
SUITE = [
    "suite.groups.target.prompts=2",
    "suite.groups.target.seeds=4",
    "suite.groups.neighbours.prompts=6",
    "suite.groups.neighbours.seeds=4",
    "suite.groups.unrelated.prompts=2",
    "suite.groups.unrelated.seeds=1",
    "suite.block=8",
    "suite.probe.prompts=0",
    "suite.robustness.prompts=0",
    "suite.metrics=[acc_e,id_e_all,id_e_face,id_s_all,id_s_face,h_c,face_rate]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store: another judge of the same images makes none."""
    return tmp_path_factory.mktemp("names")


def run(judge: str, folder: Path) -> Any:
    """The unerased model, its images of ada judged by another judge."""
    text = CONCEPT.read_text(encoding="utf-8").replace("name: face-ada", f"name: ada-{judge}")
    concept = folder / f"{judge}.yaml"
    concept.write_text(text.replace("judge: {name: gallery", f"judge: {{name: {judge}"), "utf-8")
    assert load_concept(concept).judge.name == judge
    store = str(folder / "store")
    return varbench("run", "--method", "none", "--concept", str(concept), "--store", store, *SUITE)


def records(folder: Path, concept: str) -> dict[str, Any]:
    cell = cells(folder / "store")[f"none/{concept}/0"]
    return {record["metric"]: record for record in cell["records"]}


def asked(text: str) -> str:
    return next((name for name in FACES if name in text.split()), "")


def test_images_come_first_and_the_detectors_table_after(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = folder / "gcd.csv"
    monkeypatch.setenv(VARIABLE, str(table))
    stopped = run("gcd", folder)
    assert stopped.exit_code == 2, stopped.output
    assert "it should cover 8 of 8 images" in " ".join(stopped.output.split())
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "name", "probability"])
        for entry in Store(folder / "store").entries("pictures"):
            for i, (text, seed) in enumerate(entry.spec["rows"]):
                place, name = entry.path(f"{i:03d}.png"), asked(text)
                nobody = not name or (name != "ada" and seed == 3)  # a quarter of the neighbours
                rows.writerow([place, "" if nobody else f"{name}_[m.1]", "" if nobody else 0.9])
    before = {entry.key for entry in Store(folder / "store").entries("pictures")}
    done = run("gcd", folder)
    assert done.exit_code == 0, done.output
    assert {entry.key for entry in Store(folder / "store").entries("pictures")} == before
    recorded = records(folder, "ada-gcd")
    assert (recorded["acc_e"]["value"], recorded["id_e_all"]["value"]) == (1, 1)
    assert recorded["face_rate"]["value"] == 1
    assert recorded["face_rate"]["details"]["neighbours"] == pytest.approx(0.75)
    # Three images of four are under the bar; names that unrelated prompts ask for too pass it.
    kept = recorded["id_s_all"]
    assert set(kept["details"]["unknown"].values()) == {0.75}
    assert 0 < kept["details"]["known"] < kept["details"]["names"]
    assert 0.8 <= kept["value"] < 1
    assert recorded["id_s_face"]["value"] == 1
    assert recorded["h_c"]["value"] == 0


class FacesOfTheGallery(FaceScorer):
    """The Gallery's judge in place of dlib: a face where it sees a name, described by its trunk."""

    size = 256

    def __init__(self, *, device: str) -> None:
        from varbench.scoring.gallery_networks import load_judge

        super().__init__(device=device)
        self._judge = load_judge()

    def fingerprint(self) -> str:
        return "1-gallery"

    @torch.no_grad()
    def embedding(self, image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
        named = self._judge(pixels)["identity"].argmax() < len(FACES)
        described: NDArray[np.float32] = self._judge.trunk(pixels)[0].numpy()
        return described if named else None


def test_references_are_made_from_the_unerased_models_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORERS["standard"], "faces", f"{__name__}:FacesOfTheGallery")
    done = run("faces", folder)
    assert done.exit_code == 0, done.output
    recorded = records(folder, "ada-faces")
    assert recorded["id_e_face"]["value"] > 0.8  # nothing is erased
    assert recorded["id_s_face"]["value"] > 0.8
    assert recorded["face_rate"]["value"] > 0.8
    assert recorded["h_c"]["value"] < 0.4
