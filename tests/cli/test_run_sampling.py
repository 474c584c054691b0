"""Methods that change sampling only, through the front door: what is stored, and what is shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import SMALL, cells, varbench
from tests.helpers.stores import results
from varbench.store import Store

FEW = [o for o in SMALL if not o.startswith("method.")]


def keys(store: Path, stage: str) -> set[str]:
    return {entry.key for entry in Store(store).entries(stage)}


def steered(store: Path) -> dict[str, Any]:
    """Spec of each batch of images that a method made, by the batch's key."""
    entries = Store(store).entries("pictures")
    return {e.key: e.spec["steering"] for e in entries if e.spec["steering"] is not None}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("steered") / "store"
    result = varbench("run", "--method", "neg-prompt", "--store", str(store), *FEW)
    assert result.exit_code == 0, result.output
    return store


def test_images_are_made_without_an_edit(finished: Path) -> None:
    recorded = cells(finished)
    assert set(recorded) == {"none/face-ada/0", "neg-prompt/face-ada/0"}
    assert not keys(finished, "edit")
    assert {spec["method"] for spec in steered(finished).values()} == {"neg-prompt"}
    assert len(keys(finished, "pictures")) == 2 * len(steered(finished))
    steered_keys, none = (
        {p["key"] for group in recorded[f"{m}/face-ada/0"]["pictures"].values() for p in group}
        for m in ("neg-prompt", "none")
    )
    assert steered_keys == steered(finished).keys()
    assert not steered_keys & none


def test_the_second_run_finds_everything(finished: Path) -> None:
    before = results(finished)
    result = varbench("run", "--method", "neg-prompt", "--store", str(finished), *FEW)
    assert result.exit_code == 0, result.output
    assert results(finished) == before


def test_a_changed_setting_makes_new_images_of_the_method_and_nothing_else(
    finished: Path,
) -> None:
    before, old = keys(finished, "pictures"), steered(finished)
    references = keys(finished, "reference")
    again = [*FEW, "method.prompt=the face of ada"]
    result = varbench("run", "--method", "neg-prompt", "--store", str(finished), *again)
    assert result.exit_code == 0, result.output
    fresh = keys(finished, "pictures") - before
    assert len(fresh) == len(old)
    found = steered(finished)
    assert all(found[key]["config"] == {"prompt": "the face of ada"} for key in fresh)
    assert not keys(finished, "edit")
    assert keys(finished, "reference") == references


def test_guidance_that_is_off_is_refused_with_the_fix(finished: Path) -> None:
    off = [*FEW, "model.sampling.guidance=1"]
    result = varbench("run", "--method", "neg-prompt", "--store", str(finished), *off)
    assert result.exit_code == 2, result.output
    assert "model.sampling.guidance" in result.output
    assert "Traceback" not in result.output
