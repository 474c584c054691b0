"""`run --from` repeats a cell of a user's own concept and prompt sets, whose files are gone."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import TINY, cells, varbench
from varbench.data import own_files
from varbench.data.concept_files import load_concept
from varbench.utils.files import packaged

CSV = "prompt,identity\n" + "".join(f"ada at {p},ada\n" for p in ("night", "sea", "café", "dawn"))


def own_concept(folder: Path, file: str, set_name: str) -> Path:
    """A concept whose target prompts are a CSV file of the user's."""
    text = (packaged("conf/concept") / "face-ada.yaml").read_text(encoding="utf-8")
    start = text.index("  target:")
    text = text[:start] + f"  target: [{{set: {set_name}}}]\n" + text[text.index("  neighbours:") :]
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("name: face-ada", "name: own-ada"), encoding="utf-8")
    (path.parent / set_name).parent.mkdir(parents=True, exist_ok=True)
    (path.parent / set_name).write_text(CSV, encoding="utf-8")
    return path


def record(concept: Path) -> dict[str, Any]:
    return {
        "model": "gallery", "method": "none", "suite": "smoke", "erased": "own-ada", "seed": 0,
        "overrides": [], **own_files.contents(str(concept)),
    }  # fmt: skip


FILES = [
    ("concept.yaml", "own.csv"),
    ("concept.YML", "./own.CSV"),
    ("deep/concept.txt", "../sets/own.txt"),
    ("concept.yaml", "sets/a/own.csv"),
    ("a/b/c/concept.yaml", "../../../own.csv"),
]


@pytest.mark.parametrize(("file", "set_name"), FILES)
def test_a_record_restores_the_concept(file: str, set_name: str, tmp_path: Path) -> None:
    concept = own_concept(tmp_path / "in", file, set_name)
    before, kept = load_concept(concept), record(concept)
    cell = tmp_path / "elsewhere" / "cell.json"
    cell.parent.mkdir()
    cell.write_text(json.dumps(kept))
    shutil.rmtree(tmp_path / "in")
    restored = own_files.restore(kept, "own-ada", cell.parent, tmp_path / "store" / "concepts")
    after = load_concept(restored)
    assert after.digest() == before.digest()
    assert after.group("target") == before.group("target")
    done = varbench("run", "--from", cell, "--show-config", "--store", tmp_path / "store")
    assert done.exit_code == 0, done.output


def test_a_run_of_an_own_concept_is_repeated(tmp_path: Path) -> None:
    concept = own_concept(tmp_path / "in", "concept.yaml", "own.csv")
    options = ["--method", "none", "--store", tmp_path / "a", *TINY[:-1], "suite.probe.prompts=0"]
    assert varbench("run", "--concept", concept, *options).exit_code == 0
    (cell,) = (tmp_path / "a").rglob("cell.json")
    shutil.rmtree(tmp_path / "in")
    done = varbench("run", "--from", cell, "--store", tmp_path / "b")
    assert done.exit_code == 0, done.output
    first, again = (cells(tmp_path / store) for store in ("a", "b"))
    assert [c["records"] for c in first.values()] == [c["records"] for c in again.values()]
    (second,) = (tmp_path / "b").rglob("cell.json")
    done = varbench("run", "--from", second, "--show-config", "--store", tmp_path / "c")
    assert done.exit_code == 0, done.output


def test_an_older_record_takes_the_sets_beside_it(tmp_path: Path) -> None:
    concept = own_concept(tmp_path / "in", "concept.yaml", "own.csv")
    kept = record(concept)
    del kept["concept_sets"]
    cell = tmp_path / "in" / "cell.json"
    cell.write_text(json.dumps(kept))
    command = ("run", "--from", cell, "--show-config", "--store", tmp_path / "store")
    assert varbench(*command).exit_code == 0
    (tmp_path / "in" / "own.csv").unlink()
    done = varbench(*command)
    assert done.exit_code == 2
    assert "it lacks the prompt set 'own.csv'; put that file beside it" in done.stderr


def test_a_recorded_command_repeats_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.csv").write_text(CSV.replace("café", "night sea"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    options = ("run", "--method", "none", "suite.groups.unrelated.seeds=0", "--show-config")
    done = varbench(*options, "suite.groups.neighbours.set=prompts/../own.csv")
    assert done.exit_code == 2 and f"{tmp_path}/prompts/../own.csv" in done.stderr
    text = (packaged("prompts") / "gallery-faces.csv").read_text(encoding="utf-8")
    (tmp_path / "own.csv").write_text(text, encoding="utf-8")
    done = varbench(*options, "suite.groups.neighbours.set=own.csv")
    assert done.exit_code == 0, done.output
    command = shlex.split(done.stdout.splitlines()[0].removeprefix("# varbench "))
    monkeypatch.chdir("/")
    assert varbench(*command, "--show-config").stdout == done.stdout


def test_paths_of_a_stranger_are_shown(tmp_path: Path) -> None:
    kept = {"model": "infinity-2b", "method": "none", "suite": "quick", "erased": "church"}
    elsewhere, inside = tmp_path / "secret", tmp_path / "cell" / "weights"
    cell = tmp_path / "cell" / "cell.json"
    cell.parent.mkdir()
    for path in (elsewhere, inside):
        body = {**kept, "seed": 0, "overrides": [f"model.weights={path}"], "concept_file": None}
        cell.write_text(json.dumps(body))
        done = varbench("run", "--from", cell, "--show-config", "--store", tmp_path / "store")
        assert done.exit_code == 0, done.output
        shown = f"names a path outside of its folder: {path}" in done.stderr
        assert shown is (path == elsewhere)


def test_a_strangers_prompts_elsewhere_are_shown(tmp_path: Path) -> None:
    concept = own_concept(tmp_path / "in", "concept.yaml", str(tmp_path / "secret.csv"))
    cell = tmp_path / "elsewhere" / "cell.json"
    cell.parent.mkdir()
    cell.write_text(json.dumps(record(concept)))
    done = varbench("run", "--from", cell, "--show-config", "--store", tmp_path / "store")
    assert f"names a path outside of its folder: {tmp_path / 'secret.csv'}" in done.stderr


def test_a_cell_is_repeated_with_the_overrides_given(tmp_path: Path) -> None:
    concept = own_concept(tmp_path / "in", "concept.yaml", "own.csv")
    cell = tmp_path / "cell.json"
    cell.write_text(
        json.dumps({**record(concept), "overrides": ["model.batch=3", "suite.block=2"]})
    )
    command = ("run", "--from", cell, "--show-config", "--store", tmp_path / "store")
    done = varbench(*command, "model.batch=5")
    assert "  batch: 5" in done.stdout and "  block: 2" in done.stdout
    for option, value in (("--model", "infinity-2b"), ("--method", "uce"), ("--seed", "1")):
        done = varbench(*command, option, value)
        assert done.exit_code == 2 and "drop --model to --seed" in done.stderr


def test_nothing_of_the_users_is_overwritten(tmp_path: Path) -> None:
    concept = own_concept(tmp_path / "in", "concept.yaml", "own.csv")
    cell = tmp_path / "cell.json"
    cell.write_text(json.dumps(record(concept)))
    command = ("run", "--from", cell, "--show-config", "--store", tmp_path / "store")
    assert varbench(*command).exit_code == 0
    assert varbench(*command).exit_code == 0  # the same content
    for file in (p for p in (tmp_path / "store" / "concepts").rglob("*") if p.is_file()):
        before = file.read_bytes()
        file.write_bytes(before + b"\n# mine\n")
        done = varbench(*command)
        assert done.exit_code == 2 and f"{file} is there with other content" in done.stderr
        assert file.read_bytes() == before + b"\n# mine\n"
        file.write_bytes(before)


@pytest.mark.parametrize("field", ["erased", "set"])
def test_a_record_cannot_write_elsewhere(field: str, tmp_path: Path) -> None:
    concept = own_concept(tmp_path / "in", "concept.yaml", "own.csv")
    kept = record(concept)
    if field == "erased":
        kept["erased"] = "../../own-ada"
    else:
        kept["concept_file"] = kept["concept_file"].replace("own.csv", "../../../../../../x.csv")
    cell = tmp_path / "cell.json"
    cell.write_text(json.dumps(kept))
    done = varbench("run", "--from", cell, "--show-config", "--store", tmp_path / "store")
    assert done.exit_code == 2, done.output
    assert not list(tmp_path.rglob("x.csv"))


@pytest.mark.parametrize("seed", [-1, 2**64, True, 1.5, "1"])
def test_a_record_with_an_impossible_seed_is_refused(seed: Any, tmp_path: Path) -> None:
    cell = tmp_path / "cell.json"
    kept = {"model": "gallery", "method": "svare", "suite": "smoke", "erased": "face-ada"}
    cell.write_text(json.dumps({**kept, "seed": seed, "overrides": [], "concept_file": None}))
    done = varbench("plan", "--from", cell, "--no-probe", "--store", tmp_path / "store")
    assert done.exit_code == 2 and "seed" in done.stderr
