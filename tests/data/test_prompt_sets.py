"""Prompt sets: what is read is what is written, and a malformed file is refused with its line."""

from __future__ import annotations

import csv
import hashlib
import io
import pickle
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.gallery.captions import vocabulary
from tools.gallery.scenes import is_held_out
from tools.gallery.write_prompts import write_prompts
from varbench.data import prompt_sets as prompts_module
from varbench.data.prompt import Prompt, PromptSetError, prompt_id
from varbench.data.prompt_sets import list_prompt_sets, load_prompt_set
from varbench.errors import UserError, suggest
from varbench.models.gallery.world.scene import Scene
from varbench.utils.files import packaged
from varbench.utils.text import mentions, normalise

GALLERY = ["gallery-compositions", "gallery-faces", "gallery-mannequins", "gallery-objects"]
FIELDS = ("identity", "mannequin", "object", "colour", "style", "background")


def _write(folder: Path, data: bytes) -> Path:
    path = folder / "mine.csv"
    path.write_bytes(data)
    return path


# --- the packaged sets


def test_the_packaged_sets_are_listed_and_load() -> None:
    assert set(GALLERY) <= set(list_prompt_sets())
    for name in list_prompt_sets():
        prompt_set = load_prompt_set(name)
        path = packaged("prompts") / f"{name}.csv"
        assert prompt_set.name == name
        assert prompt_set.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        with path.open(newline="", encoding="utf-8") as file:
            assert [row["prompt"] for row in csv.DictReader(file)] == [
                prompt.text for prompt in prompt_set.prompts
            ]
        card = path.with_suffix(".md").read_text(encoding="utf-8")
        assert f"**Prompts**: {len(prompt_set.prompts)}" in card and "Apache-2.0" in card


def test_writing_the_sets_again_gives_the_same_bytes(tmp_path: Path) -> None:
    written = write_prompts(tmp_path)
    assert {path.name for path in written} == {
        f"{name}.{ending}" for name in GALLERY for ending in ("csv", "md")
    }
    for path in written:
        assert path.read_bytes() == (packaged("prompts") / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", GALLERY)
def test_gallery_prompts_are_many_balanced_and_held_out(name: str) -> None:
    prompt_set = load_prompt_set(name)
    assert 500 <= len(prompt_set.prompts) <= 700
    subjects: dict[tuple[str, ...], int] = {}
    words = set(vocabulary())
    for prompt in prompt_set.prompts:
        values = {field: prompt.labels[field] or None for field in FIELDS}
        assert is_held_out(Scene(**values)), prompt  # type: ignore[arg-type]
        assert set(prompt.text.split()) <= words
        assert 4 <= len(prompt.text.split()) <= 18
        person = prompt.labels["identity"] + prompt.labels["mannequin"]
        key = (person or prompt.labels["object"],)
        subjects[key] = subjects.get(key, 0) + 1
    assert len(set(subjects.values())) == 1, subjects
    assert prompt_set.columns[: len(FIELDS)] == FIELDS


def test_no_prompt_is_in_two_gallery_sets() -> None:
    texts = [normalise(p.text) for name in GALLERY for p in load_prompt_set(name).prompts]
    assert len(texts) == len(set(texts))


def test_implied_wordings_are_marked() -> None:
    prompt_set = load_prompt_set("gallery-mannequins")
    implied = [prompt for prompt in prompt_set.prompts if prompt.labels["implied"]]
    assert len(implied) >= 100
    assert all(prompt.labels["implied"] in prompt.text for prompt in implied)
    states = ("bare", "undressed", "unclothed", "without", "nothing", "stripped", "dressed",
              "clothed", "wearing", "in clothes")  # fmt: skip
    for prompt in prompt_set.prompts:
        said = any(mentions(prompt.text, word) for word in states)
        assert said != bool(prompt.labels["implied"]), prompt


# --- a user's own file


def test_a_users_file_works_like_a_packaged_one(tmp_path: Path) -> None:
    text = 'seed,prompt,object\n7,"a car, red",car\n8,caf\u00e9 "at night",\n'
    text = text.replace('caf\u00e9 "at night"', '"caf\u00e9 ""at night"""')
    path = _write(tmp_path, text.encode())
    prompt_set = load_prompt_set(str(path))
    assert prompt_set == load_prompt_set(path)
    assert prompt_set.name == "mine" and prompt_set.columns == ("seed", "object")
    assert prompt_set.values("object") == ("car", "")
    assert prompt_set.prompts[1] == Prompt(
        'caf\u00e9 "at night"', prompt_id('caf\u00e9 "at night"'), {"seed": "8", "object": ""}
    )
    assert pickle.loads(pickle.dumps(prompt_set)) == prompt_set
    assert hash(prompt_set)


def test_spreadsheet_files_with_a_byte_order_mark_and_crlf_load(tmp_path: Path) -> None:
    found = load_prompt_set(_write(tmp_path, b"\xef\xbb\xbfprompt,style\r\na car,neon\r\n"))
    assert found.prompts[0].text == "a car" and found.prompts[0].labels == {"style": "neon"}


def test_the_id_is_that_of_the_composed_text() -> None:
    assert prompt_id("cafe\u0301") == prompt_id("caf\u00e9") != prompt_id("cafe")
    assert prompt_id("a car") == hashlib.sha256(b"a car").hexdigest()[:16]


MALFORMED = {
    "empty file": (b"", 1, "first line names the columns"),
    "blank header": (b"\nprompt\na car\n", 1, "first line names the columns"),
    "no prompts": (b"prompt,style\n", 1, "add at least one line"),
    "misspelt column": (b"Prompts,style\na car,neon\n", 1, "did you mean 'Prompts'?"),
    "column twice": (b"prompt,style,style\na car,x,y\n", 1, "'style' appears twice"),
    "column without name": (b"prompt,\na car,\n", 1, "has no name"),
    "spaces in column": (b"prompt, style\na car,neon\n", 1, "delete them"),
    "empty prompt": (b"prompt,style\na car,neon\n  ,neon\n", 3, "empty prompt"),
    "duplicate": (b"prompt\na car\na boat\na car\n", 4, "same prompt as in line 2"),
    "duplicate in other bytes": (
        "prompt\ncaf\u00e9\ncafe\u0301\n".encode(), 3, "same prompt as in line 2"
    ),
    "too few cells": (b"prompt,style\na car\n", 2, "1 cells but the header has 2"),
    "too many cells": (b"prompt,style\na car,red,neon\n", 2, "double quotes"),
    "blank line": (b"prompt\na car\n\na boat\n", 3, "empty line; delete it"),
    "line of a later error": (b'prompt\n"a\ncar"\n\n', 4, "empty line; delete it"),
    "not UTF-8": (b"prompt\na car\ncaf\xe9\n", 3, "save the file as UTF-8"),
    "UTF-16": ("prompt\na car\n".encode("utf-16"), 1, "save the file as UTF-8"),
    "open quote": (b'prompt\na boat\n"a car\n', 3, "not valid CSV"),
    "text after quote": (b'prompt\n"a" car\n', 2, "not valid CSV"),
    "huge cell": (b"prompt\n" + b"x" * 200_000 + b"\n", 2, "not valid CSV"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused_with_line_and_fix(case: str, tmp_path: Path) -> None:
    data, line, fix = MALFORMED[case]
    path = _write(tmp_path, data)
    with pytest.raises(PromptSetError) as caught:
        load_prompt_set(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert fix in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_an_unknown_set_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(PromptSetError, match=r"did you mean 'gallery-faces'\?"):
        load_prompt_set("gallery-face")
    with pytest.raises(PromptSetError, match="cannot be read"):
        load_prompt_set(tmp_path / "none.csv")
    with pytest.raises(PromptSetError, match="cannot be read"):
        load_prompt_set("no\0thing.csv")
    with pytest.raises(PromptSetError, match="cannot be read"):
        load_prompt_set(tmp_path)


CELL = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_table_round_trips_or_is_refused(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("prompt", "label"), *rows])
    path = _write(tmp_path, out.getvalue().encode())
    texts = [unicodedata.normalize("NFC", text) for text, _ in rows]
    good = all(text.strip() for text, _ in rows) and len(set(texts)) == len(texts)
    if good:
        found = load_prompt_set(path).prompts
        assert [(p.text, p.labels["label"]) for p in found] == rows
    else:
        with pytest.raises(PromptSetError):
            load_prompt_set(path)


@given(st.one_of(st.binary(max_size=60), st.text('prom t,"\n\r\0\u00e9', max_size=60)))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_load_or_are_refused_with_the_documented_error(
    tmp_path: Path, data: bytes | str
) -> None:
    tail = data if isinstance(data, bytes) else data.encode()
    for whole in (tail, b"prompt,x\n" + tail, b"prompt\na car\n" + tail):
        path = _write(tmp_path, whole)
        try:
            prompt_set = load_prompt_set(path)
        except PromptSetError as error:
            assert str(error).startswith(f"{path}:")
        else:
            assert prompt_set.prompts and all(p.text.strip() for p in prompt_set.prompts)


# --- words, and what must not be imported


def test_phrases_are_found_as_whole_words() -> None:
    assert mentions("A Church, by night", "church") and mentions("made of TILES.", "tiles")
    assert mentions("a mannequin  without\nclothes", "without clothes")
    assert not mentions("churches", "church") and not mentions("adamant", "ada")
    assert not mentions("anything", "") and not mentions("anything", "?!")
    assert suggest("gren", ["green", "red"]).startswith("did you mean 'green'?")
    assert "none to choose" in suggest("x", [])
    assert "(20 in all)" in suggest("zz", [f"name{i}" for i in range(20)])


def test_prompts_and_concepts_do_without_torch() -> None:
    code = (
        "import sys; from varbench.data.concept_files import load_concept; "
        "load_concept('face-ada'); import tools.gallery.write_prompts; "
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(prompts_module.__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
