"""`varbench score`: one file, one label per prompt, a command for a shell, seeds of one range."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from tests.helpers.cli import varbench
from tests.helpers.image_folder import (
    OTHERS,
    TARGETS,
    cells,
    noise,
    noise_folder,
    refused,
    score,
    write_manifest,
)  # fmt: skip
from varbench.cli.options import split_seeds
from varbench.errors import UserError
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import draw_batch
from varbench.utils.seeds import LARGEST

# --- one file, one label


@pytest.mark.parametrize("name", ["./0-0.png", ".//0-0.png", "sub/link.png", "hard.png"])
def test_one_file_under_several_spellings_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    rows = noise_folder(folder, TARGETS[:1], 1)
    (folder / "sub").mkdir()
    (folder / "sub" / "link.png").symlink_to(folder / "0-0.png")
    os.link(folder / "0-0.png", folder / "hard.png")
    write_manifest(folder, [*rows, {**rows[0], "file": name, "seed": "1"}])
    message = refused(score(folder, tmp_path / "s"), tmp_path / "s")
    assert f"manifest.csv:3: file {name!r} is already in " in message
    assert "manifest.csv:2" in message


def labelled(folder: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    """A manifest of (file, prompt, seed, object)."""
    for file, *_ in rows:
        folder.mkdir(exist_ok=True)
        (folder / file).write_bytes(noise(len(file)))
    header = ("file", "prompt", "seed", "object", "group")
    named = [dict(zip(header, (*row, "unrelated"), strict=True)) for row in rows]
    write_manifest(folder, named, header)
    return folder


def test_labels_that_contradict_are_refused_with_both_lines(tmp_path: Path) -> None:
    store = tmp_path / "s"
    rows = [("a.png", "a thing", "0", "clock"), ("b.png", "a thing", "1", "boat")]
    message = refused(score(labelled(tmp_path / "a", rows), store), store)
    assert "manifest.csv:3: object of 'a thing' is 'boat', but 'clock' in" in message
    assert "manifest.csv:2; a prompt has one label" in message

    blank = [rows[0], ("b.png", "a thing", "1", "")]
    assert "''" in refused(score(labelled(tmp_path / "b", blank), store), store)

    composed = [("a.png", "a caf\u00e9", "0", "cup"), ("b.png", "a cafe\u0301", "1", "clock")]
    assert "'clock'" in refused(score(labelled(tmp_path / "c", composed), store), store)

    base = labelled(tmp_path / "d", [rows[0]])
    other = labelled(tmp_path / "e", [("a.png", "a thing", "0", "boat")])
    message = refused(score(other, store, "--method", "m", "--against", base), store)
    assert str(base) in message and str(other) in message

    known = labelled(tmp_path / "f", [("a.png", OTHERS[0], "0", "zebra")])
    message = refused(score(known, store), store)
    assert "manifest.csv:2: object of" in message and "in the prompt set" in message


def test_equal_labels_are_taken(tmp_path: Path) -> None:
    rows = [("a.png", "a thing", "0", "clock"), ("b.png", "a thing", "1", "clock")]
    assert score(labelled(tmp_path / "a", rows), tmp_path / "s").exit_code == 0


def test_a_label_that_is_mended_is_scored_anew(tmp_path: Path) -> None:
    for label in ("boat", "clock"):
        folder = labelled(tmp_path / "a", [("a.png", "a thing", "0", label)])
        for store in ("one", label):
            assert score(folder, tmp_path / store).exit_code == 0
        assert cells(tmp_path / "one") == cells(tmp_path / label)


# --- the recorded command, seeds


def test_the_recorded_command_is_one_that_a_shell_takes(tmp_path: Path) -> None:
    folder = tmp_path / "my 'own' pictures; ls $HOME"
    noise_folder(folder, TARGETS[:1], 1)
    store = tmp_path / "s"
    options = ("--method", "m", "--against", folder, "--seed", "7", "--model-name", "x")
    assert score(folder, store, *options).exit_code == 0
    command = cells(store)["x/m"]["command"]
    words = shlex.split(command)
    assert words[:3] == ["varbench", "score", str(folder)]
    assert words[words.index("--against") + 1] == str(folder)
    assert words[words.index("--seed") + 1] == "7"


SEEDS = ["-1", "0-4", "4294967296", "20261130120000123", "1796000000000000000", "9" * 5000, "1e3"]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_command_takes_the_same_seeds(seed: str, tmp_path: Path) -> None:
    folder, store = tmp_path / "in", tmp_path / "s"
    noise_folder(folder, TARGETS[:1], 1)
    edit = ("--method", "svare", "--concept", "face-ada", "--store", store)
    for done in (
        varbench("run", *edit, "--seed", seed),
        varbench("plan", "--no-probe", *edit, "--seed", seed),
        varbench("export", "--out", tmp_path / "out", *edit, "--seed", seed),
        score(folder, store, "--method", "m", "--against", folder, "--seed", seed),
    ):
        assert done.exit_code == 2, done.output
        assert "seed" in done.stderr and "Traceback" not in done.stderr
    with pytest.raises(UserError, match=r"such as 0,1,2,3,4|0 to 4294967295"):
        split_seeds(seed)


def test_training_takes_the_largest_seed() -> None:
    config = FineTuneConfig(steps=10_000_000)
    for seed in split_seeds(f"0,1,{LARGEST}"):
        assert draw_batch(50, config, seed, 9_999_999).rows
