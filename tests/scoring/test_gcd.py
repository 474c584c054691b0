"""The detector's table: how it is read, matched with images, and refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.identity import NAMES, NamedConcept
from varbench.errors import UserError
from varbench.scoring.judges import ANOTHER, NO_FACE
from varbench.scoring.scorers.gcd import (
    VARIABLE,
    Answer,
    GcdError,
    GcdJudge,
    GcdScorer,
    default_table,
    plain_name,
    read_answers,
)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two blocks of a store: images of the same name in both."""
    folders = [tmp_path / "pictures" / key[:2] / key for key in ("ab1", "cd2")]
    paths = [folder / f"{i:03d}.png" for folder in folders for i in (0, 1)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(path).encode())
    return paths


def table(folder: Path, *rows: str, head: str = "file,name,probability") -> Path:
    path = folder / "gcd.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_images_are_found_by_their_last_two_parts_or_their_checksum(
    tmp_path: Path, files: list[Path]
) -> None:
    sha = hashlib.sha256(files[3].read_bytes()).hexdigest()
    path = table(
        tmp_path,
        "elsewhere/cd2/000.png,Clara_Voss_[m.01],0.2",
        "C:\\copies\\ab1\\001.png,Bea_Keel_[m.02],0.7",
        "/store/pictures/ab/ab1/000.png,Somebody_Else_[g.3],0.1",
        "/store/pictures/ab/ab1/000.png,Ada_Marlow_[m.4],0.9",  # ranks in any order
        f"{sha}.png,,",
    )
    scores = GcdScorer(path).score(files, ["a"] * 4)
    assert scores["name"].tolist() == ["adamarlow", "beakeel", "claravoss", ""]
    assert scores["face"].tolist() == [True, True, True, False]
    np.testing.assert_allclose(scores["probability"], [0.9, 0.7, 0.2, 0])
    assert scores["probability"].dtype == np.float32
    back = GcdScorer(path).score(files[::-1], ["a"] * 4)
    assert back["name"].tolist() == scores["name"].tolist()[::-1]


def test_what_the_scorer_gives_survives_the_store(tmp_path: Path, files: list[Path]) -> None:
    """Blocks are saved without pickle, and names of other lengths are joined."""
    rows = ["ab1/000.png,A,1", "ab1/001.png,,", "cd2/000.png,A much longer name,1", "cd2/001.png,,"]
    scorer, parts = GcdScorer(table(tmp_path, *rows)), []
    for block in (files[:2], files[2:]):
        np.savez(tmp_path / "scores.npz", allow_pickle=False, **scorer.score(block, ["a"] * 2))
        with np.load(tmp_path / "scores.npz", allow_pickle=False) as arrays:
            parts.append(dict(arrays))
    names = np.concatenate([part["name"] for part in parts])
    assert names.tolist() == ["a", "", "amuchlongername", ""]


def test_the_judge_knows_the_names_of_the_concept_only(tmp_path: Path, files: list[Path]) -> None:
    named = ["ab1/000.png,ada marlow,0.9", "ab1/001.png,Bea_Keel_[m.1],0.6"]
    rows = [*named, "cd2/000.png,Somebody Else,0.8", "cd2/001.png,,"]
    scorer = GcdScorer(table(tmp_path, *rows))
    judge = GcdJudge(NamedConcept(), {"gcd": scorer})
    seen = judge.predict({"gcd": scorer.score(files, ["a"] * 4)})
    assert judge.labels == {"identity": (*NAMES, ANOTHER, NO_FACE)}
    assert seen["identity"].tolist() == [0, 1, 3, 4]
    assert seen["face"].tolist() == [True, True, True, False]
    assert seen["unrecognised"].tolist() == [False, False, False, True]  # a stranger is known
    np.testing.assert_allclose(seen["identity_p"], [0.9, 0.6, 0.8, 1])
    with pytest.raises(UserError, match="differ in capitals, accents or punctuation"):
        GcdJudge(NamedConcept((*NAMES, "Bea Keel")), {})


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("Beyonce_[m.01mpq7s]", "beyonce"),
        ("Beyoncé", "beyonce"),
        ("Robert_Downey_Jr_[m.016z2j]", "robertdowneyjr"),
        ("Robert Downey Jr.", "robertdowneyjr"),
        ("JAY-Z", "jayz"),
        ("50_Cent_[m.01vvyc_]", "50cent"),
    ],
)
def test_names_are_compared_by_their_letters(given: str, plain: str) -> None:
    assert plain_name(given) == plain


def test_missing_images_are_named_with_the_way_to_mend_it(
    tmp_path: Path, files: list[Path]
) -> None:
    path = table(tmp_path, "ab1/000.png,A,1", "cd2/001.png,B,1")
    with pytest.raises(GcdError) as caught:
        GcdScorer(path).score(files, ["a"] * 4)
    text = str(caught.value)
    assert "lacks 2 of 4 images" in text
    assert str(files[1]) in text
    assert str(files[2]) in text
    assert str(files[0]) not in text
    assert f"below {tmp_path / 'pictures'} " in text
    assert VARIABLE in text
    many = [files[1]] * 25
    with pytest.raises(GcdError, match=r"25 of 25 images:(\n.*){10}\n  and 15 more"):
        GcdScorer(path).score(many, ["a"] * 25)


def test_without_a_table_images_can_be_made_but_not_scored(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert default_table() == tmp_path / "data" / "gcd.csv"
    scorer = GcdScorer()
    assert scorer.fingerprint() == "no table"
    with pytest.raises(GcdError, match=r"gcd\.csv does not exist; it should cover 4 of 4 images"):
        scorer.score(files, ["a"] * 4)
    monkeypatch.setenv(VARIABLE, str(table(tmp_path, "ab1/000.png,A,1")))
    first = GcdScorer().fingerprint()
    table(tmp_path, "ab1/000.png,B,1")
    assert len(first) == 64
    assert GcdScorer().fingerprint() != first


def test_an_index_column_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = table(tmp_path, "0,ab1/000.png,0.5,A,x", head="\ufeff,file,probability,name,rank")
    assert read_answers(path) == {"ab1/000.png": Answer("a", 0.5)}


@pytest.mark.parametrize(
    ("rows", "line", "complaint"),
    [
        (["a/0.png,A,0.5", "a/1.png,A,much"], 3, "probability 'much' is not a number from 0 to 1"),
        (["a/0.png,A,1.2"], 2, "probability '1.2'"),
        (["a/0.png,A,nan"], 2, "probability 'nan'"),
        (["a/0.png,A,"], 2, "probability ''"),
        (["a/0.png,A,0.5", "a/1.png,Downey, Jr.,0.5"], 3, "put cells with commas in"),
        (["a/0.png,A"], 2, "2 cells but the header has 3"),
        ([",A,0.5"], 2, "column 'file' is empty"),
        (["a/0.png,,0.5"], 2, "a probability without a name"),
        (["a/0.png,_[m.1],0.5"], 2, "is not a name"),
        (["a/0.png,A,0.5", "b/a/0.png,,"], 3, "a/0.png has rows with and without a name"),
    ],
)  # fmt: skip
def test_malformed_rows_are_refused_with_their_line(
    rows: list[str], line: int, complaint: str, tmp_path: Path
) -> None:
    path = table(tmp_path, *rows)
    with pytest.raises(GcdError) as caught:
        read_answers(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert complaint in str(caught.value)


def test_what_is_no_such_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GcdError, match=r"gcd\.csv:1: no column 'name'"):
        read_answers(table(tmp_path, head="file,top1,probability"))
    path = tmp_path / "latin.csv"
    path.write_bytes("file,name,probability\na/0.png,Béa,1\n".encode("latin-1"))
    with pytest.raises(GcdError, match=r"latin\.csv:2: not UTF-8"):
        read_answers(path)
