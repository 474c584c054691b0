"""Published sets: the table is sound, files are read as written, doubts are told by line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.helpers.plugin_folder import install
from tests.helpers.published import DATA, entry
from varbench.cli import app
from varbench.data import concept_files
from varbench.data import prompt_sets as prompts
from varbench.data.prompt import MissingPromptSetError, PromptSetError
from varbench.data.prompt_sets import load_prompt_set
from varbench.data.published.catalog import Columns, known, prompt_sets
from varbench.data.published.data_folder import data_folder
from varbench.data.published.readers import read
from varbench.data.selection import stratified_subset

FILE = Path("some.csv")


# --- the table


def test_the_table_is_sound() -> None:
    for name, asset in known().items():
        assert re.fullmatch(r"[a-z0-9.-]+", name) and asset.name == name
        assert asset.licence and asset.cite and asset.about
        assert asset.sha256 is None or re.fullmatch("[0-9a-f]{64}", asset.sha256)
        assert asset.revision is None or re.fullmatch("[0-9a-f]{40}", asset.revision), name
        assert asset.revision or asset.host != "github", "a branch may change"
        assert asset.sha256 is None or (asset.rows and asset.prompts), "counted in the copy at hand"
        assert asset.pinned == "checksum" or "no copy was at hand" in asset.pinned
        assert (asset.columns is None) == (asset.format == "statistics")


@pytest.mark.parametrize(
    "wanted",
    ["i2p", "unlearndiffatk-", "esd-", "uce-", "imagenette-", "coco-30k", "coco-30k-statistics",
     "ring-a-bell-", "p4d", "mma-diffusion", "ecgvf-", "mace-celebrities-", "mace-artists-"],
)  # fmt: skip
def test_what_papers_report_on_is_in_the_table(wanted: str) -> None:
    assert any(name.startswith(wanted) for name in known())


def test_published_and_packaged_names_differ() -> None:
    assert not set(prompt_sets()) & set(prompts.list_prompt_sets())


def test_addresses_name_the_commit() -> None:
    one = known()["i2p"]
    assert one.revision and one.address == (
        f"https://raw.githubusercontent.com/{one.place}/{one.revision}/prompts/i2p.csv"
    )


# --- reading


def test_rows_with_the_same_prompt_are_merged_and_reported() -> None:
    reading = read(entry(), FILE, DATA)
    assert reading.rows == 4 and reading.repeats == ((5, 2),)  # a cell of line 3 goes on in line 4
    prompts = reading.prompt_set.prompts
    assert [p.text for p in prompts] == [
        "a red car",
        "a boat,\nat night",
        "NuLL",
    ]
    car, boat, null = (p.labels for p in prompts)
    assert car == {
        "artist": "Ada", "hate": "yes", "shocking": "yes", "violence": "yes", "rows": "2"
    }  # fmt: skip
    assert boat == {"artist": "", "hate": "yes", "shocking": "", "violence": "", "rows": "1"}
    assert null["hate"] == "" and null["rows"] == "1"
    assert reading.summary(entry()) == "4 rows, 3 distinct prompts (line 5 repeats line 2)"
    assert "5 rows were expected" in reading.summary(entry(rows=5))


def test_a_smaller_choice_is_balanced_over_groups_and_not_over_tags_or_numbers() -> None:
    lines = [
        f'{i},prompt {i},"{"hate" if i < 4 else ""}",{"Ada" if i % 2 else "Bo"}' for i in range(40)
    ]
    data = "\n".join(["number,prompt,categories,artist", *lines, ""]).encode()
    prompts = read(entry(), FILE, data).prompt_set.prompts
    chosen = stratified_subset(prompts, 20, "none of the columns")
    assert Counter(p.labels["artist"] for p in chosen) == {"Ada": 10, "Bo": 10}
    numbered = entry(columns=Columns("prompt", None, "categories", ("number",)))
    prompts = read(numbered, FILE, data).prompt_set.prompts
    chosen = stratified_subset(prompts, 20, "none of the columns")
    by_hash = sorted((p.id for p in prompts), key=lambda i: hashlib.sha256(i.encode()).digest())
    assert {p.id for p in chosen} == set(by_hash[:20])


def test_a_smaller_choice_of_sets_with_different_columns() -> None:
    ours = load_prompt_set("objects").prompts
    theirs = read(entry(), FILE, DATA).prompt_set.prompts
    chosen = stratified_subset([*ours, *theirs], 41, "object")
    assert len(chosen) == 41 and sum(p in theirs for p in chosen) == 1  # 40 objects, and none


def test_pairs_and_json_files_read_alike() -> None:
    records = [{"bad": "a nude statue", "good": "a statue", "n": 1}, {"bad": "x", "good": "y"}]
    columns = Columns("bad", "good", None, ())
    reading = read(
        entry(format="json", columns=columns), Path("some.json"), json.dumps(records).encode()
    )
    text = b"bad,good\r\na nude statue,a statue\r\nx,y\r\n"
    same = read(entry(columns=columns), FILE, text)
    assert reading.prompt_set.prompts == same.prompt_set.prompts
    assert reading.prompt_set.prompts[0].labels == {"neutral": "a statue", "rows": "1"}


MALFORMED = {
    "empty prompt": (DATA + b'4," ",,\n', 7, "empty prompt"),
    "too few cells": (DATA + b"4,a cup\n", 7, "2 cells but the header has 4"),
    "unquoted comma": (DATA + b"4,a cup, red,,\n", 7, "double quotes"),
    "empty line": (DATA + b"\n", 7, "empty line"),
    "not UTF-8": (DATA + b"4,caf\xe9,,\n", 7, "not UTF-8"),
    "open quote": (DATA + b'4,"a cup,,\n', 7, "not valid CSV"),
    "no such column": (b"text,categories,artist\na,b,c\n", 1, "0 columns 'prompt'; this file has"),
    "column twice": (b"prompt,prompt,categories,artist\na,b,c,d\n", 1, "2 columns 'prompt'"),
    "label missing": (b"prompt,categories\na,b\n", 1, "0 columns 'artist'"),
    "no header": (b"", 1, "no header"),
    "no rows": (b"prompt,categories,artist\n", 1, "no prompts"),
    "a web page": (b"<!DOCTYPE html>\n<html></html>\n", 1, "0 columns 'prompt'"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused_with_its_line(case: str) -> None:
    data, line, what = MALFORMED[case]
    with pytest.raises(PromptSetError) as caught:
        read(entry(), FILE, data)
    assert str(caught.value).startswith(f"{FILE}:{line}: ") and what in str(caught.value)


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"[{]", "some.json:1: not valid JSON"), (b"{}", "a list of records"), (b"[]", "no prompts"),
     (b'["a"]', "item 1 has no text 'prompt'"), (b'[{"prompt": 1}]', "item 1 has no text 'prompt'"),
     (b'[{"promt": "a"}]', "did you mean 'promt'?")],
)  # fmt: skip
def test_malformed_json_is_refused(data: bytes, what: str) -> None:
    columns = Columns("prompt", None, None, ())
    with pytest.raises(PromptSetError, match=re.escape(what)):
        read(entry(format="json", columns=columns), Path("some.json"), data)


def test_statistics_are_no_prompts() -> None:
    with pytest.raises(PromptSetError, match="no prompt set"):
        read(known()["coco-30k-statistics"], FILE, DATA)


# --- by name


def test_an_unfetched_set_is_answered_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingPromptSetError, match="run `varbench fetch i2p`") as caught:
        load_prompt_set("i2p")
    assert caught.value.command == "varbench fetch i2p"
    with pytest.raises(PromptSetError, match=r"did you mean 'coco-30k'\?"):
        load_prompt_set("coco30k")


def test_a_concept_with_an_unfetched_set_names_the_command(tmp_path: Path) -> None:
    own = concept_files.KIND.folder / "face-ada.yaml"
    text = own.read_text(encoding="utf-8").replace("face-ada", "mine")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("{set: gallery-objects, limit: 120}", "{set: coco-30k}"))
    with pytest.raises(
        concept_files.ConceptError, match=r"mine.yaml:\d+: .*`varbench fetch coco-30k`"
    ):
        concept_files.load_concept(path)


def test_a_packaged_concept_that_needs_an_unfetched_set_is_listed_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = concept_files.KIND.folder / "church.yaml"
    text = source.read_text(encoding="utf-8").replace("name: church", "name: chapel")
    for name, changed in (
        ("chapel", text.replace("set: gallery-faces", "set: coco-30k")),
        ("church", source.read_text()),
    ):
        (tmp_path / f"{name}.yaml").write_text(changed, encoding="utf-8")
    assert "coco-30k" in (tmp_path / "chapel.yaml").read_text(encoding="utf-8")
    elsewhere = dataclasses.replace(concept_files.KIND, folder=tmp_path)
    monkeypatch.setattr(concept_files, "KIND", elsewhere)
    done = CliRunner().invoke(app, ["list", "concepts"])
    lines = done.stdout.splitlines()
    assert done.exit_code == 0, done.output
    assert any(re.fullmatch(r"chapel +needs varbench fetch coco-30k *", line) for line in lines)
    assert any(line.startswith("church ") and "object" in line for line in lines)


def test_the_folder_is_the_users_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARBENCH_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("VARBENCH_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "varbench"


def test_a_plugin_cannot_take_a_published_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"lists/{name}": "prompt\na car\n" for name in ("i2p.csv", "their-own.csv")}
    install(
        tmp_path, "lists", {"lists/__init__.py": "", **files}, {"varbench.prompts": {"l": "lists"}}
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_prompt_set("their-own").prompts[0].text == "a car"
    with pytest.raises(MissingPromptSetError):
        load_prompt_set("i2p")
    assert any("'i2p' is built in" in problem for problem in prompts.KIND.problems())
