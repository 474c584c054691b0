"""`varbench score`: images of another program give what the same images of a run give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.cli import small_groups, varbench
from tests.helpers.image_folder import (
    HEADER,
    OTHERS,
    TARGETS,
    Row,
    cells,
    entries,
    export_cell,
    noise,
    noise_folder,
    refused,
    score,
    write_manifest,
)
from varbench.metrics import METRICS
from varbench.metrics.base import OF_MODEL
from varbench.store import Store

SMALL = [
    *small_groups(2, 2),
    "suite.block=4",
    "suite.probe.prompts=0",
    "suite.robustness.prompts=0",
]


# --- the same as a run


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Row]]:
    """A store with a run of one method, and its images exported to `none` and `neg` beside it."""
    home = tmp_path_factory.mktemp("ran")
    done = varbench("run", "--method", "neg-prompt", "--store", home / "store", *SMALL)
    assert done.exit_code == 0, done.output
    found = cells(home / "store")
    rows = export_cell(Store(home / "store"), found["gallery/neg-prompt"], home / "neg")
    base = export_cell(Store(home / "store"), found["gallery/none"], home / "none")
    write_manifest(home / "neg", rows)
    write_manifest(home / "none", reversed(base), HEADER[:3])
    return home / "store", home, rows


NAMES = {"model", "method", "config", "suite", "prompt_set"}


def seen(cell: dict[str, Any]) -> dict[str, list[tuple[str, int, bool]]]:
    """The judge's verdicts, group by group."""
    return {
        group: sorted((one["prompt_id"], one["seed"], one["hit"]) for one in images)
        for group, images in cell["pictures"].items()
    }


def test_images_of_a_run_get_the_records_of_the_run(
    ran: tuple[Path, Path, list[Row]], tmp_path: Path
) -> None:
    """One list names the groups, the other does not and has another order; nothing may differ."""
    store, home, _ = ran
    done = score(
        home / "neg", tmp_path, "--method", "neg", "--against", home / "none", "--model-name", "x"
    )
    assert done.exit_code == 0, done.output
    assert "target: 4 images of 2 prompts" in done.stderr and "neg" in done.stdout
    theirs, ours = cells(store), cells(tmp_path)
    assert set(ours) == {"x/none", "x/neg"}
    for name, like in (("x/none", "gallery/none"), ("x/neg", "gallery/neg-prompt")):
        mine, run = ours[name], theirs[like]
        alone = {id for id, metric in METRICS.items() if OF_MODEL.isdisjoint(metric.info.needs)}
        found = {record["metric"]: record for record in mine["records"]}
        expected = {r["metric"]: r for r in run["records"] if r["metric"] in alone}
        assert set(found) == set(expected)
        for metric in set(found) - {"fid_real"}:  # the Gallery's own world is not theirs
            for key in set(expected[metric]) - NAMES:
                assert found[metric][key] == expected[metric][key], (metric, key)
        assert list(seen(mine).items()) == list(seen(run).items())
        assert (mine["embedded"], mine["suite"], mine["seed"]) == (False, "elsewhere", 0)
        assert mine["provenance"]["source"] == "pictures made elsewhere"
        assert set(mine) >= set(run) - {"edit"}
        values = [record["value"] for record in found.values()]
        assert len([one for one in values if one is not None]) > 5, "there is something to compare"


def test_a_report_shows_them_and_the_same_command_does_nothing(
    ran: tuple[Path, Path, list[Row]], tmp_path: Path
) -> None:
    _, home, _ = ran
    args = (home / "neg", tmp_path, "--method", "neg", "--against", home / "none")
    assert score(*args).exit_code == 0
    before = entries(tmp_path)
    assert score(*args).exit_code == 0 and entries(tmp_path) == before
    done = varbench("report", "--store", tmp_path, "--out", tmp_path / "report")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report" / "index.html").read_text()
    assert "neg" in page and "pictures made elsewhere" in page
    done = varbench("report", "--store", tmp_path, "--format", "json")
    methods = {record["method"] for record in json.loads(done.stdout)}
    assert methods == {"none", "neg"}
    done = varbench("publish", "--store", tmp_path, "--out", tmp_path / "leaderboard")
    assert done.exit_code == 2 and "pictures made elsewhere" in done.stderr, done.output
    # Another edit seed is another cell of the same method.
    assert score(*args, "--seed", "1").exit_code == 0
    assert len(list(Store(tmp_path).entries("cell"))) == 3


def test_a_missing_base_image_is_an_error_and_a_surplus_is_reported(
    ran: tuple[Path, Path, list[Row]], tmp_path: Path
) -> None:
    _, home, rows = ran
    fewer = tmp_path / "fewer"
    shutil.copytree(home / "neg", fewer)
    write_manifest(fewer, rows[1:])
    done = score(home / "neg", tmp_path / "a", "--method", "neg", "--against", fewer)
    message = refused(done, tmp_path / "a")
    assert "lacks 1 images" in message and rows[0]["prompt"] in message
    done = score(fewer, tmp_path / "b", "--method", "neg", "--against", home / "none")
    assert done.exit_code == 0 and "1 images of" in done.stderr, done.output
    cell = cells(tmp_path / "b")["elsewhere/neg"]
    assert cell["provenance"]["not_compared"] == 1
    assert sum(len(group) for group in cell["pictures"].values()) == len(rows) - 1


# --- other layouts and formats


def test_genevals_layout_and_other_formats_are_the_same_images(tmp_path: Path) -> None:
    plain, geneval = tmp_path / "plain", tmp_path / "geneval"
    for i, row in enumerate(noise_folder(plain, TARGETS + OTHERS)):
        data = (plain / row["file"]).read_bytes()
        place = geneval / f"{i // 2:05d}" / "samples" / f"{int(row['seed']):04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        record = {"tag": "faces", "prompt": row["prompt"]}
        (place.parent.parent / "metadata.jsonl").write_text(json.dumps(record))
    assert score(plain, tmp_path / "one").exit_code == 0
    done = score(geneval, tmp_path / "two")
    assert done.exit_code == 0, done.output
    one, two = (cells(tmp_path / name)["elsewhere/none"] for name in ("one", "two"))
    assert one["records"] == two["records"] and one["pictures"] == two["pictures"]
    assert set(one["pictures"]) == {"target", "unrelated"}


def test_lossless_webp_and_jpeg_are_kept_as_the_pixels_they_decode_to(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    rows = noise_folder(folder, TARGETS[:2], seeds=1)
    (folder / rows[0]["file"]).write_bytes(noise(5, form="WEBP", lossless=True))
    (folder / rows[1]["file"]).write_bytes(noise(6, form="JPEG", quality=80))
    assert score(folder, tmp_path / "store").exit_code == 0
    shots = cells(tmp_path / "store")["elsewhere/none"]["pictures"]["target"]
    for shot, row in zip(shots, rows, strict=True):
        entry = Store(tmp_path / "store").find("pictures", shot["key"])
        assert entry is not None
        with Image.open(entry.path(shot["file"])) as kept, Image.open(folder / row["file"]) as own:
            assert kept.format == "PNG"
            assert np.array_equal(np.asarray(kept), np.asarray(own.convert("RGB")))


def test_the_list_of_a_suite_is_written_and_must_be_fulfilled(tmp_path: Path) -> None:
    args = ("score", tmp_path, "--concept", "face-ada", "--suite", "smoke", "--method", "none")
    assert varbench(*args, "--wanted").exit_code == 0
    text = (tmp_path / "manifest.csv").read_text().splitlines()
    assert text[0] == "file,prompt,seed,group" and text[1].startswith("target/00000-0.png,")
    groups = [line.rsplit(",", 1)[1] for line in text[1:]]
    assert groups.count("target") % 4 == 0 and set(groups) == {"target", "neighbours", "unrelated"}
    again = varbench(*args, "--wanted")
    assert again.exit_code == 2 and "cannot be written" in again.stderr
    message = refused(varbench(*args, "--store", tmp_path / "store"), tmp_path / "store")
    assert f"{len(groups)} images cannot be scored" in message and "no such file" in message
    (tmp_path / "manifest.csv").write_text("\n".join([*text[:5], *text[6:]]))
    message = refused(varbench(*args, "--store", tmp_path / "store"), tmp_path / "store")
    assert "'target' and the list lacks 1" in message and "seed 0" in message
    (tmp_path / "manifest.csv").write_text("\n".join([*text, f"x.png,{TARGETS[0]},99,target"]))
    message = refused(varbench(*args, "--store", tmp_path / "store"), tmp_path / "store")
    assert f"manifest.csv:{len(text) + 1}: the suite does not ask for" in message
