"""`varbench.load_images`: one row per image and score, as the store has them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import varbench
from tests.helpers.leaderboard import METHOD
from tests.helpers.report import put_cell
from varbench.report import ReportError, load_cells
from varbench.report.image_scores import COLUMNS
from varbench.store import Store


@pytest.fixture(scope="module")
def images(small_store: Path) -> pd.DataFrame:
    return varbench.load_images(small_store)


def test_every_image_of_every_cell_is_there(images: pd.DataFrame, small_store: Path) -> None:
    assert tuple(images.columns) == COLUMNS
    expected = {
        (cell.method, group, image["prompt_id"], image["seed"], image["prompt"], image["hit"])
        for cell in load_cells(Store(small_store))
        for group, listed in cell.body["pictures"].items()
        for image in listed
    }
    names = ["method", "group", "prompt_id", "seed", "prompt", "hit"]
    assert set(images[names].itertuples(index=False, name=None)) == expected
    assert set(images.edit_seed) == {0}
    assert all(Path(file).is_file() for file in images.file)
    assert not images.duplicated(["method", "group", "prompt_id", "seed", "scorer", "score"]).any()


def test_scores_and_hits_are_those_that_metrics_are_made_of(
    images: pd.DataFrame, small_store: Path
) -> None:
    records = varbench.load_results(small_store)
    means = records[records.seed.isna()].set_index(["method", "metric"]).value
    one_score = images[images.score == "cosine"]
    assert set(one_score.scorer) == {"clip"}
    for method in ("none", METHOD):
        target = one_score[(one_score.method == method) & (one_score.group == "target")]
        assert target.hit.mean() == pytest.approx(means[method, "acc_e"])
        rest = one_score[(one_score.method == method) & (one_score.group != "target")]
        by_prompt = rest.groupby(["prompt_id", "seed"]).value.first()
        value = 100 * np.maximum(by_prompt, 0).groupby("prompt_id").mean().mean()
        assert value == pytest.approx(means[method, "clip_score"], rel=1e-4)


def test_a_deleted_image_and_images_without_scores_have_rows(
    small_store: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_store, tmp_path / "store")
    store = Store(tmp_path / "store")
    for stage in ("scores", "pictures"):
        entry = next(iter(store.entries(stage)))
        store.remove(entry)
    images = varbench.load_images(store.root)
    assert images.file.isna().any() and images.file.notna().any()
    put_cell(Store(tmp_path / "other"), "naive")
    unscored = varbench.load_images(tmp_path / "other")
    assert len(unscored) == 12 and unscored.value.isna().all() and unscored.scorer.isna().all()


def test_a_store_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="holds no results yet"):
        varbench.load_images(tmp_path)
