"""Real images that cells are compared with: the Gallery's renders and published statistics."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.runs import run_context
from tests.helpers.scoring import new_scorer
from varbench.conf.schema import GroupConfig
from varbench.errors import UserError
from varbench.metrics.base import Moments
from varbench.models.gallery.world import render as renders
from varbench.pipeline.graph import tasks_of_cell
from varbench.pipeline.plan import Request, plan
from varbench.pipeline.stages.reference import statistics, statistics_spec
from varbench.store.hashing import cached_file_sha256

STATISTICS = "coco-30k-statistics"


def standard(role: str = "features") -> Any:
    return SimpleNamespace(judge_spec=SimpleNamespace(network_set="standard"), scorers={role: None})


def cell(prompt_set: str = "coco-30k") -> Any:
    """As much of a cell as is asked here: a released model on a suite with captions."""
    groups = {"target": GroupConfig(), "coco": GroupConfig(set=prompt_set)}
    config = SimpleNamespace(
        suite=SimpleNamespace(groups=groups, block=50), model=SimpleNamespace(name="infinity-2b")
    )
    return SimpleNamespace(config=config, groups=dict)


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Statistics as `varbench fetch` leaves them: the file and its receipt."""
    monkeypatch.setenv("VARBENCH_DATA", str(tmp_path))
    path = tmp_path / f"{STATISTICS}.npz"
    rows = np.random.default_rng(0).normal(size=(20, 4))
    write(path, mu=rows.mean(axis=0), sigma=np.cov(rows, rowvar=False))
    return path


def write(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)
    receipt(path)


def receipt(path: Path) -> None:
    text = json.dumps({"sha256": cached_file_sha256(path)})
    (path.parent / f"{STATISTICS}.receipt.json").write_text(text)


def test_statistics_of_a_groups_prompt_set_are_its_reference(fetched: Path) -> None:
    found = statistics(cell(), standard())
    assert set(found) == {"coco"}
    moments = found["coco"]
    assert isinstance(moments, Moments)
    assert moments.n == 30_000
    rows = np.random.default_rng(0).normal(size=(20, 4))
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0))
    np.testing.assert_allclose(moments.covariance, np.cov(rows, rowvar=False))


def test_a_cells_spec_names_the_statistics_it_was_compared_with(fetched: Path) -> None:
    before = statistics_spec(cell(), standard())
    assert before == {"statistics": {"coco": cached_file_sha256(fetched)}}
    write(fetched, mu=np.zeros(4), sigma=np.eye(4))
    after = statistics_spec(cell(), standard())
    assert after != before
    fetched.unlink()
    assert statistics_spec(cell(), standard()) == {}
    assert statistics(cell(), standard()) == {}


@pytest.mark.parametrize("case", ["other set", "other features", "no features"])
def test_statistics_are_of_one_network_and_one_prompt_set(fetched: Path, case: str) -> None:
    evaluator = standard("clip" if case == "no features" else "features")
    if case == "other features":
        evaluator.judge_spec.network_set = "gallery"
    asked = cell("gallery-objects") if case == "other set" else cell()
    assert statistics(asked, evaluator) == {}
    assert statistics_spec(asked, evaluator) == {}


def test_damaged_statistics_are_refused_before_any_work_and_name_the_fix(fetched: Path) -> None:
    fetched.write_bytes(fetched.read_bytes()[:-40])
    with pytest.raises(UserError, match=f"checksum.*varbench fetch {STATISTICS}"):
        statistics_spec(cell(), standard())


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"feats": np.zeros((3, 4))}, "no arrays mu and sigma"),
        ({"mu": np.zeros(4), "sigma": np.eye(3)}, r"mu \[4\] and sigma \[3, 3\] do not fit"),
    ],
)
def test_statistics_of_another_kind_are_refused(
    fetched: Path, arrays: dict[str, Any], why: str
) -> None:
    write(fetched, **arrays)
    with pytest.raises(UserError, match=f"{why}.*varbench fetch {STATISTICS}"):
        statistics(cell(), standard())
    fetched.write_bytes(b"no archive at all")
    receipt(fetched)
    with pytest.raises(UserError, match="no arrays mu and sigma"):
        statistics(cell(), standard())


def test_the_gallerys_are_renders_of_the_same_prompts(tmp_path: Path) -> None:
    small = [f"suite.groups.{g}.{k}={v}" for g in ("target", "neighbours", "unrelated")
             for k, v in (("prompts", 3), ("seeds", 2))]  # fmt: skip
    request = Request("gallery", (), ("face-ada",), "smoke", (0,), (*small, "suite.block=4"))
    (cell,) = plan(request)
    ctx = run_context(tmp_path / "store")
    references = tasks_of_cell(ctx, cell).outputs(ctx).reference
    assert set(references) == {"neighbours", "unrelated"}
    rows = cell.groups()["unrelated"]
    files = []
    for i, row in enumerate(rows):
        image = renders.reference_image(row.prompt.labels, row.prompt.id, row.seed)
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(files[-1])
    expected = new_scorer("features").score(files, [row.prompt.text for row in rows])["features"]
    assert isinstance(references["unrelated"], np.ndarray)
    assert references["unrelated"].shape == (6, 64)
    np.testing.assert_allclose(references["unrelated"], expected, atol=1e-4)
    assert statistics_spec(cell, ctx.evaluator(cell)) == {}
