"""Figures that papers report: as their sources have them, and never among measured ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from jsonschema import Draft202012Validator

from tests.helpers.cli import varbench
from tests.helpers.report import put_cell
from tools.results.schema import schema
from varbench.leaderboard.check import check
from varbench.leaderboard.reported import load_reported, render_reported
from varbench.pipeline.ablation import load_ablation
from varbench.store import Store
from varbench.utils.files import packaged

BEYOND_JSON_SCHEMA = (
    "original has 1 figures for 2 columns",
    "UCE has two rows",
    "its name is 'other'",
)


def figures_of(name: str, title: str) -> Mapping[str, Sequence[str]]:
    (one,) = (one for one in load_reported(packaged("results/reported")) if one.name == name)
    (table,) = (table for table in one.tables if table.title == title)
    return {row.method: row.figures for row in table.rows}


def test_reported_figures_are_those_of_their_sources() -> None:
    nudity = figures_of("svare", "S-VARE: nudity")
    assert nudity["original"] == ("158", "112") and nudity["S-VARE"] == ("5", "57")
    assert nudity["UCE"] == ("", "100")
    assert figures_of("svare", "S-VARE: church")["original"] == ("94.2", "76.0")
    assert figures_of("svare", "S-VARE: Van Gogh")["AC-M"] == ("12.8",)
    several = figures_of("svare", "S-VARE: several Imagenette classes at once")
    assert several["S-VARE, 10 classes"] == ("3.7", "34.2", "30.8")
    assert figures_of("svare", "S-VARE: adversarial prompts")["original"] == ("75.9", "53.0")
    board = figures_of("unlearndiffatk", "UnlearnDiffAtk: nudity")
    assert board["ESD"] == ("20.42", "76.05", "18.18", "0.302")
    assert board["MACE"] == ("9.10", "74.57", "16.90", "0.239") and len(board) == 12
    assert figures_of("unlearndiffatk", "UnlearnDiffAtk: Van Gogh")["RECE"][:2] == (
        "14.00", "70.73",
    )  # fmt: skip
    assert figures_of("hub", "HUB: celebrities")["MACE"] == ("0.002", "12.975")
    assert figures_of("obliviate", "Obliviate: nudity")["Obliviate"] == ("3.15",)
    assert figures_of("semantic-surgery", "Semantic Surgery: nudity")["ESD-u"][0] == "55"
    certainty = {
        one.name: one.source.certainty for one in load_reported(packaged("results/reported"))
    }
    assert certainty["svare"] == "secondhand" and certainty["unlearndiffatk"] == "repository"


def test_ablations_and_tables_print_the_same_figures() -> None:
    """S-VARE itself is a row of both; each figure else has one home."""
    losses, alpha = load_ablation("losses"), load_ablation("alpha")
    church = figures_of("svare", "S-VARE: church")["S-VARE"]
    assert losses.variants[-1].reported[:2] == church
    ring = figures_of("svare", "S-VARE: adversarial prompts")["S-VARE"][0]
    assert alpha.variants[1].reported[0] == ring


def test_reported_figures_are_printed_apart(tmp_path: Path) -> None:
    put_cell(Store(tmp_path), "naive")
    done = varbench("report", "--store", tmp_path, "--table", "main", "--reported")
    assert done.exit_code == 0, done.output
    measured, _, reported = done.output.partition("Reported by papers, not measured here")
    assert "94.2" not in measured and "94.2" in reported and "naive" not in reported
    assert "| S-VARE" in render_reported(packaged("results/reported"), "md")
    latex = render_reported(packaged("results/reported"), "latex")
    assert r"ACC\_e \% $\downarrow$" in latex and latex.startswith("% ") and latex.isascii()
    done = varbench("report", "--store", tmp_path, "--reported", "--format", "csv")
    assert done.exit_code == 2 and "choose one of: latex, md, table" in done.output
    assert varbench("report", "--store", tmp_path, "--reported", "--out", "x").exit_code == 2


def test_reported_files_are_checked(tmp_path: Path) -> None:
    folder = tmp_path / "reported"
    shutil.copytree(packaged("results/reported"), folder)
    assert check(tmp_path).problems == () and check(tmp_path).reported == 5
    text = (folder / "svare.json").read_text(encoding="utf-8")
    form = Draft202012Validator(schema("reported"))
    form.validate(json.loads(text))
    for broken, words in (
        (text.replace('["158", "112"]', '["158"]'), "original has 1 figures for 2 columns"),
        (text.replace('"FMN"', '"UCE"'), "UCE has two rows"),
        (text.replace('"158"', '"about 158"'), "should match pattern"),
        (text.replace("secondhand", "hearsay"), "certainty: Input should be"),
        (text.replace('"name": "svare"', '"name": "other"'), "its name is 'other'"),
    ):
        (folder / "svare.json").write_text(broken, encoding="utf-8")
        (problem,) = check(tmp_path).problems
        # JSON Schema cannot say that a row has as many figures as there are columns.
        assert form.is_valid(json.loads(broken)) == (words in BEYOND_JSON_SCHEMA)
        assert problem.file == "reported/svare.json" and words in problem.message
