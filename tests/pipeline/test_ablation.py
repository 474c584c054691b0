"""Ablations: their files, a run through the front door, and the table beside a paper's figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.cli import SMALL, varbench
from varbench.conf.compose import names
from varbench.errors import UserError
from varbench.pipeline.ablation import load_ablation
from varbench.pipeline.plan import Request, plan
from varbench.store import Store

MINE = """\
name: tiny-alpha
title: Two thresholds
concepts: [face-ada]
suite: smoke
metrics: [erasure_rate, acc_u]
reported:
  source: A paper 2026
  note: another model
  columns: [ASR, FID]
variants:
  - {label: no filter, method: svare, set: [method.alpha=0], reported: ["7.2", ""]}
  - {label: half, method: svare, set: [method.alpha=0.5]}
  - {label: other loss, method: vare}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    file = folder / "mine.yaml"
    file.write_text(MINE)
    result = varbench("run", "--ablation", str(file), "--store", str(folder / "store"), *SMALL)
    assert result.exit_code == 0, result.output
    assert "no filter" in result.output
    return folder / "store"


def test_every_packaged_ablation_is_possible() -> None:
    for name in names("ablation"):
        ablation = load_ablation(name)
        assert ablation.name == name
        hashes = []
        for variant in ablation.variants:
            cells = plan(ablation.request(variant, Request("gallery", (), (), "", (0,))))
            hashes.append((cells[-1].method, cells[-1].config_hash(), cells[-1].name))
        assert len(set(hashes)) == len(hashes), f"{name}: two variants are the same run"


def test_the_table_has_the_variants_in_order_and_the_papers_figures(store: Path) -> None:
    result = varbench(
        "report", "--ablation", "tiny-alpha", "--format", "csv", "--store", str(store)
    )
    assert result.exit_code == 0, result.output
    lines = result.output.strip().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [
        "base model", "no filter", "half", "other loss",
    ]  # fmt: skip
    assert lines[0].endswith("ASR (reported),FID (reported)")
    assert [line.rsplit(",", 2)[1:] for line in lines[1:]] == [
        ["–", "–"], ["7.2", "–"], ["–", "–"], ["–", "–"],
    ]  # fmt: skip


def test_the_numbers_are_those_of_the_cells(store: Path) -> None:
    entries = list(Store(store).entries("ablation"))
    assert len(entries) == 1
    body = entries[0].json("ablation.json")
    half = body["variants"][1]["cells"]
    cells = [Store(store).find("cell", key).json("cell.json") for key in half]  # type: ignore[union-attr]
    assert [cell["method"] for cell in cells] == ["none", "svare"]
    assert cells[1]["method_config"]["alpha"] == 0.5
    acc = next(r for r in cells[1]["records"] if r["metric"] == "acc_u")
    shown = varbench("report", "--ablation", "tiny-alpha", "--format", "md", "--store", str(store))
    row = next(line for line in shown.output.splitlines() if line.startswith("| half"))
    assert f"{100 * acc['value']:.1f} [" in row


def test_a_second_run_adds_nothing(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(MINE)
    before = sorted(p for p in store.rglob("manifest.json"))
    result = varbench("run", "--ablation", str(file), "--store", str(store), *SMALL)
    assert result.exit_code == 0, result.output
    assert sorted(p for p in store.rglob("manifest.json")) == before


def test_training_figures_are_drawn_from_the_store(store: Path, tmp_path: Path) -> None:
    result = varbench("figures", "--store", str(store), "--out", str(tmp_path / "figures"))
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    for kind in ("tokens", "kept"):
        assert len([n for n in names if n.endswith(f"-{kind}.pdf")]) == 2  # both runs of svare
        assert len([n for n in names if n.endswith(f"-{kind}.png")]) == 2
    edit = next(e for e in Store(store).entries("edit") if e.spec["method"] == "svare")
    notes = json.loads(edit.path("notes.json").read_text())
    tokens = sum(h * w for h, w in notes["schedule"])
    assert len(notes["concept_tokens"]) == tokens
    assert all(0 <= share <= 1 for share in notes["concept_tokens"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("label: half", "label: no filter", "two variants are called 'no filter'"),
        ("method.alpha=0.5", "method.alpha", "KEY=VALUE"),
        ('["7.2", ""]', '["7.2"]', "1 figures for 2 columns"),
        ("metrics: [erasure_rate, acc_u]", "metric: [acc_u]", "unknown key 'metric'"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINE
    file = tmp_path / "mine.yaml"
    file.write_text(MINE.replace(old, new))
    with pytest.raises(UserError, match=message):
        load_ablation(file)


def test_an_impossible_variant_is_refused_before_work(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(MINE.replace("method.alpha=0.5", "method.alpha=7"))
    store = tmp_path / "store"
    result = varbench("run", "--ablation", str(file), "--store", str(store))
    assert result.exit_code == 2
    assert "alpha is a share" in result.output
    assert not list(Store(store).entries("pictures"))


def test_an_unknown_ablation_names_the_nearest(tmp_path: Path) -> None:
    result = varbench("run", "--ablation", "alfa", "--store", str(tmp_path))
    assert result.exit_code == 2
    assert "alpha" in result.output
