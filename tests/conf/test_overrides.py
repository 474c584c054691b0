"""Overrides: texts reach a setting as written, and errors say what is wrong and the fix."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from varbench.conf.compose import resolve
from varbench.conf.schema import InfinityModelConfig
from varbench.data.concept_files import load_concept
from varbench.data.prompt_sets import load_prompt_set
from varbench.errors import UserError
from varbench.models.weights.locate import place
from varbench.pipeline.plan import Request
from varbench.store import Store
from varbench.utils.files import packaged

PATHS = [
    "/tmp/gewichte-ü", "/tmp/lr=1e-4", "/tmp/run(2)", "/tmp/v1#2", "/tmp/a,b", "~/w", "~nobody/w",
    "1e5", "true", "no", "0x10", "1_000", "[a]", "{a: b}", "a b", "it's", "a\\'b", "C:\\w", "a\\",
    "nan", "a:b", "*", "a%b@c", "重み",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_taken_as_written(path: str) -> None:
    for override in (f"model.weights={path}", f"+model.weights={path}"):
        model = resolve("infinity-2b", "quick", "none", [override]).model
        assert isinstance(model, InfinityModelConfig)
        assert model.weights == path
        assert place(model) == os.path.expanduser(path)
    suite = resolve("gallery", "smoke", "none", [f"suite.groups.target.set={path}"]).suite
    assert suite.groups["target"].set == path


@pytest.mark.parametrize("value", ["'/a,b'", '"/a,b"'])
def test_quotes_may_be_given(value: str) -> None:
    model = resolve("infinity-2b", "quick", "none", [f"model.weights={value}"]).model
    assert isinstance(model, InfinityModelConfig) and model.weights == "/a,b"


@pytest.mark.parametrize(
    ("override", "absolute"),
    [
        ("model.weights=w,1", "model.weights={}/w,1"),
        ("model.weights='w'", "model.weights={}/w"),
        ("suite.groups.target.set=own.CSV", "suite.groups.target.set={}/own.CSV"),
        ("++suite.groups.target.set=./own", "++suite.groups.target.set={}/own"),
        ("suite.groups.target.set=gallery-faces", "suite.groups.target.set=gallery-faces"),
        ("model.weights=null", "model.weights=null"),
        ("model.weights=/a/b", "model.weights=/a/b"),
        ("method.alpha=0.5", "method.alpha=0.5"),
    ],
)
def test_a_request_has_absolute_paths(
    override: str, absolute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the command line, of an ablation's variants, and of a record alike."""
    monkeypatch.chdir(tmp_path)
    request = Request("infinity-2b", (), (), "quick", (0,), (override,))
    assert request.overrides == (absolute.format(tmp_path),)
    assert replace(request, overrides=("pairs=4", override)).overrides[1:] == request.overrides


def test_null_is_none() -> None:
    model = resolve("infinity-2b", "quick", "none", ["model.weights=null"]).model
    assert isinstance(model, InfinityModelConfig) and model.weights is None


@pytest.mark.parametrize(
    ("override", "reason", "fix"),
    [
        ("method.alpha=abc", "'abc' of type 'str' could not be converted to Float", "a number"),
        ("method.train.steps=1.5", "could not be converted to Integer", "a whole number"),
        ("model.strict=maybe", "'maybe' is not a valid bool", "true or false"),
        ("suite.metrics=acc_e", "is not a ListConfig", "suite.metrics=[A,B]"),
        ("suite.groups.target.seeds=abc", "could not be converted to Integer", "a whole number"),
        ("method.alpha=1,2", "Ambiguous value", "a number"),
        ("method.alpha=[1", "no viable alternative", "a number"),
        (
            "model.methods.x=ü,b",
            "LexerNoViable",
            "around the value: model.methods.x=\"'ü,b'",
        ),
        ("model.train.absent=5", "Could not override", "write +model.train.absent=5"),
    ],
)
def test_an_error_keeps_hydras_reason_and_says_the_fix(
    override: str, reason: str, fix: str
) -> None:
    with pytest.raises(UserError) as refusal:
        resolve("gallery", "smoke", "svare", ["model.batch=8", override])
    for part in (override, reason, fix):
        assert part in str(refusal.value)


def test_a_tilde_is_the_home_folder_for_every_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `--store=~/runs`, which a shell leaves as it is, and in Python."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store(Path("~/runs")).root == tmp_path / "runs"
    (tmp_path / "own.csv").write_text("prompt\na cat\n")
    assert load_prompt_set("~/own.csv").name == "own"
    text = (packaged("conf/concept") / "face-ada.yaml").read_text(encoding="utf-8")
    (tmp_path / "ada.yaml").write_text(text)
    assert load_concept("~/ada.yaml").name == "face-ada"
