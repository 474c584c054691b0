"""The public API: `varbench.run`, `varbench.plan` and `varbench.load_results`."""

from __future__ import annotations

import inspect
from pathlib import Path

import pandas as pd
import pytest

import varbench
from tests.helpers.cli import TINY
from tests.helpers.cli import varbench as command
from varbench.cli import options
from varbench.errors import UserError
from varbench.report import Filters, load_records
from varbench.report.records import to_frame
from varbench.store import Store
from varbench.store.status import status

METHOD = "neg-prompt"  # changes sampling only, so it trains nothing
SETTINGS = [*TINY[:-1], "suite.metrics=[acc_e,acc_n,vendi]", "suite.probe.prompts=0"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that `varbench run` filled."""
    folder = tmp_path_factory.mktemp("api") / "store"
    done = command("run", "--method", METHOD, "--store", folder, *SETTINGS)
    assert done.exit_code == 0, done.output
    return folder


def test_a_run_records_what_the_command_records(store: Path, tmp_path: Path) -> None:
    frame = varbench.run(methods=METHOD, overrides=SETTINGS, store=tmp_path / "own", quiet=True)
    pd.testing.assert_frame_equal(frame, varbench.load_results(tmp_path / "own"))
    ours, theirs = (
        f[~f.metric.str.startswith("cost")] for f in (frame, varbench.load_results(store))
    )
    pd.testing.assert_frame_equal(ours.reset_index(drop=True), theirs.reset_index(drop=True))
    assert set(frame.method) == {"none", METHOD}
    (logged,) = status(tmp_path / "own").runs
    assert logged.state == "finished"
    assert logged.command.startswith("varbench.run(")


def test_a_run_returns_exactly_its_cells(store: Path) -> None:
    frame = varbench.run(methods=["none"], overrides=SETTINGS, store=store, quiet=True)
    assert set(frame.method) == {"none"}
    assert list(frame.columns) == list(varbench.load_results(store).columns)
    expected = load_records(Store(store), Filters(method=("none",)))
    pd.testing.assert_frame_equal(frame, to_frame(expected))


def test_a_plan_counts_before_and_after_a_run(store: Path, tmp_path: Path) -> None:
    empty = varbench.plan(methods=METHOD, overrides=SETTINGS, store=tmp_path / "none")
    done = varbench.plan(methods=METHOD, overrides=SETTINGS, store=store)
    assert not (tmp_path / "none").exists()
    assert list(empty.columns) == ["stage", "what", "required", "cached", "to_do"]
    assert (empty.required == empty.to_do).all()
    assert (empty.cached == 0).all()
    assert empty.set_index("stage").required["pictures"] == 2 * 12
    assert (done.to_do == 0).all()
    assert list(done.required) == list(empty.required)


def test_the_api_has_the_defaults_of_the_command() -> None:
    for function in (varbench.run, varbench.plan):
        defaults = {n: p.default for n, p in inspect.signature(function).parameters.items()}
        assert defaults["model"] == options.DEFAULT_MODEL
        assert defaults["methods"] == options.DEFAULT_METHOD
        assert defaults["concepts"] == options.DEFAULT_CONCEPT
        assert defaults["suite"] == options.DEFAULT_SUITE
        assert Path(defaults["store"]) == options.DEFAULT_STORE


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": "galery"}, "did you mean 'gallery'"),
        ({"methods": ["svar"]}, "did you mean 'svare'"),
        ({"concepts": "face-adda"}, "did you mean 'face-ada'"),
        ({"suite": "smok"}, "did you mean 'smoke'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [-1]}, "from 0 to"),
        ({"seeds": [1, 1]}, "twice"),
        ({"methods": []}, "at least one"),
        ({"concepts": []}, "at least one"),
        ({"overrides": ["method.alfa=1"]}, "method.alpha"),
        ({"overrides": ["alpha"]}, "KEY=VALUE"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        varbench.plan(**wrong, store=tmp_path / "store")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=words):
        varbench.run(**wrong, store=tmp_path / "store", quiet=True)  # type: ignore[arg-type]
    assert not (tmp_path / "store" / "pictures").exists()
