"""Images that fail keep a reason, are counted wherever their group's numbers are, and come back.

Nothing in the Gallery fails by itself, so a decoder and a scorer are made to.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.cli import cells, varbench
from tests.helpers.leaderboard import METHOD, SMALL
from varbench.methods.base import Edit, Method
from varbench.methods.registry import load_method
from varbench.metrics.groups import Array
from varbench.models.infinity.model import InfinityModel
from varbench.models.protocol import Rollout
from varbench.pipeline.stages.generate import find_invalid
from varbench.pipeline.stages.score import score_or_isolate
from varbench.scoring.scorers.judge import JudgeScorer
from varbench.store import Store
from varbench.store.failures import failed_in

ALL = ["--max-failed", "1"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which nothing failed."""
    store = tmp_path_factory.mktemp("sound") / "store"
    assert varbench("run", "--method", METHOD, "--store", store, *SMALL).exit_code == 0
    return store


def records(store: Path) -> dict[str, Any]:
    return {name: cell["records"] for name, cell in cells(store).items()}


def n_failed(store: Path, name: str) -> dict[str, int]:
    return {one["metric"]: one["n_failed"] for one in cells(store)[name]["records"]}


def lose_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder gives no number for a pixel of the third image of its first block."""
    decode, calls = InfinityModel.decode, []

    def broken(self: InfinityModel, rollout: Rollout) -> Tensor:
        made = decode(self, rollout)
        if not calls:
            made[2, 0, 0, 0] = torch.nan
        calls.append(1)
        return made

    monkeypatch.setattr(InfinityModel, "decode", broken)


def test_a_failed_image_is_counted_reported_and_made_again(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["run", "--method", METHOD, "--store", tmp_path]
    with monkeypatch.context() as patch:
        lose_one_image(patch)
        refused = varbench(*run, *SMALL)
    assert refused.exit_code == 2 and "Traceback" not in refused.output
    assert "1 of 4 in target" in refused.output and "--retry-failed" in refused.output
    assert "1 of 12288 pixel values are not finite" in refused.output  # 64 x 64 x 3
    assert not cells(tmp_path)

    again = varbench(*run, *ALL, *SMALL)
    assert again.exit_code == 0, again.output
    assert "(1 failed)" in again.output  # the table
    for name in (f"{METHOD}/face-ada/0", "none/face-ada/0"):  # the method's pair is lost as well
        found = n_failed(tmp_path, name)
        assert found["acc_e"] == 1 and found["acc_u"] == found["acc_n"] == 0
    none = cells(tmp_path)["none/face-ada/0"]
    (lost,) = none["failed"]["target"]
    assert lost["reason"].endswith("not finite") and len(none["pictures"]["target"]) == 3
    assert lost["prompt_id"] and not cells(tmp_path)[f"{METHOD}/face-ada/0"]["failed"]
    told = varbench("status", "--store", tmp_path, "--json")
    (one,) = json.loads(told.output)["failed"]
    assert one["number"] == 2 and one["stage"] == "pictures"
    assert "1 failed images" in varbench("status", "--store", tmp_path).output
    for form in ("md", "latex"):
        table = varbench("report", "--store", tmp_path, "--format", form, "--table", "main")
        assert "1 failed" in table.output
    page = varbench("report", "--store", tmp_path, "--format", "html", "--out", tmp_path / "page")
    assert page.exit_code == 0, page.output
    assert "1 more failed" in next((tmp_path / "page").rglob("*.html")).read_text()

    mended = varbench(*run, "--retry-failed", *SMALL)
    assert mended.exit_code == 0, mended.output
    assert records(tmp_path) == records(sound)


def test_an_image_that_a_scorer_fails_on_is_counted(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    shutil.copytree(sound, store)
    for stage in ("scores", "cell"):
        shutil.rmtree(store / stage)
    score = JudgeScorer.score
    victims = []

    def broken(self: JudgeScorer, files: Sequence[Path], prompts: Sequence[str]) -> Any:
        victims.append(files[0]) if not victims else None
        if victims[0] in files:
            raise ZeroDivisionError("odd image")
        return score(self, files, prompts)

    with monkeypatch.context() as patch:
        patch.setattr(JudgeScorer, "score", broken)
        with caplog.at_level(logging.WARNING, "varbench.failed"):
            result = varbench("run", "--method", METHOD, "--store", store, *ALL, *SMALL)
    assert result.exit_code == 0, result.output
    assert "ZeroDivisionError: odd image" in caplog.text
    # The judge's image is out for all metrics of its group, which so speak of the same images.
    found = n_failed(store, "none/face-ada/0")
    assert found["acc_e"] == 1 and found["acc_u"] == 0
    (lost,) = cells(store)["none/face-ada/0"]["failed"]["target"]
    assert lost["entry"].startswith("scores/") and lost["reason"].startswith("ZeroDivisionError")
    assert (
        varbench("run", "--method", METHOD, "--store", store, "--retry-failed", *SMALL).exit_code
        == 0
    )
    assert records(store) == records(sound)


@dataclass
class Odd:
    """A scorer that gives a number per file, and fails on some."""

    fails: tuple[str, ...] = ()
    infinite: tuple[str, ...] = ()

    def __call__(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        assert len(files) == len(prompts)
        if bad := [file.name for file in files if file.name in self.fails]:
            raise ValueError(bad[0])
        numbers = [np.inf if file.name in self.infinite else int(file.name) for file in files]
        return {"x": np.array(numbers, np.float32)[:, None], "n": np.array(numbers) > 1}


FILES = {0: Path("0"), 2: Path("2"), 3: Path("3")}
PROMPTS = ["a", "b", "c", "d"]


def test_a_scorer_keeps_the_rows_of_the_images_that_it_can_look_at() -> None:
    arrays, failed = score_or_isolate(Odd(), FILES, PROMPTS)
    assert not failed and arrays["x"].ravel().tolist() == [0, 2, 3]
    arrays, failed = score_or_isolate(Odd(fails=("2",)), FILES, PROMPTS)
    assert failed == {2: "ValueError: 2"} and arrays["x"].ravel().tolist() == [0, 3]
    arrays, failed = score_or_isolate(Odd(fails=("0",), infinite=("3",)), FILES, PROMPTS)
    assert failed == {0: "ValueError: 0", 3: "its scores are not finite"}
    assert arrays["n"].tolist() == [True]
    assert score_or_isolate(Odd(), {}, PROMPTS) == ({}, {})
    assert score_or_isolate(Odd(fails=("0",)), {0: Path("0")}, PROMPTS) == (
        {},
        {0: "ValueError: 0"},
    )


def test_a_scorer_that_fails_on_everything_is_broken_itself() -> None:
    with pytest.raises(ValueError, match=r"^0$"):
        score_or_isolate(Odd(fails=("0", "2", "3")), FILES, PROMPTS)

    def full(files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        score_or_isolate(full, FILES, PROMPTS)


def test_predictions_that_are_not_finite_make_no_image() -> None:
    from varbench.models.protocol import Schedule

    tokens, inputs = torch.zeros(3, 1, 2, dtype=torch.uint8), torch.zeros(3, 0, 2)
    finite = torch.tensor([True, False, True])
    rollout = Rollout(tokens, inputs, Schedule(((1, 1),)), finite)
    images = torch.zeros(3, 3, 2, 2)
    images[2, 1] = torch.inf
    assert find_invalid(rollout, images) == {
        1: "the model's predictions are not finite",
        2: "4 of 12 pixel values are not finite",
    }
    assert rollout.select([1]).finite is not None
    assert not find_invalid(Rollout(tokens, inputs, Schedule(((1, 1),))), images[:2])


def test_a_broken_weight_fails_in_the_roll_out() -> None:
    from tests.helpers.tiny import tiny_model

    model = tiny_model()
    condition = model.encode(["a red cube", "a green ball"])
    keys = [("p", 0), ("q", 0)]
    found = model.generate(condition, keys, guidance=model.guidance(2.0))
    assert found.finite is not None and found.finite.all()
    name, weight = next(iter(model.weights().named_parameters()))
    with torch.no_grad():
        weight.fill_(torch.nan)
    broken = model.generate(condition, keys, guidance=model.guidance(2.0)).finite
    assert broken is not None and not broken.any(), name


def test_an_edit_that_diverged_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = type(load_method("uce"))
    erase = method.erase

    def diverging(self: Method, *args: Any) -> Edit:
        made = erase(self, *args)
        name, tensor = next(iter(made.tensors.items()))
        return Edit({**made.tensors, name: tensor / 0}, made.log, made.notes)

    monkeypatch.setattr(method, "erase", diverging)
    told = varbench("run", "--method", "uce", "--store", tmp_path, *SMALL)
    assert told.exit_code == 2 and "diverged" in told.output and "learning rate" in told.output
    assert not list(Store(tmp_path).entries("edit"))


def test_what_has_not_failed_has_no_note(sound: Path) -> None:
    entries = [e for stage in ("pictures", "scores", "cell") for e in Store(sound).entries(stage)]
    assert entries and not any("failed" in entry.meta or failed_in(entry) for entry in entries)
