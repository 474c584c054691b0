"""Paper tables: layouts, ties by a paired test, text in four forms, and a real LaTeX."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from tests.helpers.cli import varbench
from tests.helpers.report import HOSTILE, NUMBERS, a_record, put_cell
from varbench.errors import UserError
from varbench.metrics.stats import PairedSamples
from varbench.metrics.stats.tests import paired_sign_flip_pvalue
from varbench.report import load_cells, records_of
from varbench.report.panels import build_panels
from varbench.report.paper import paper_tables, render_paper
from varbench.report.samples import CellSamples
from varbench.report.table import Table
from varbench.report.ties import best
from varbench.store import Store

PROMPTS = np.repeat([f"p{i:02d}" for i in range(40)], 2)


def hits(share: float, seed: int = 0) -> np.ndarray:
    """`[80]` bool, two images per prompt."""
    return np.random.default_rng(seed).random(80) < share


def rows(share: float, seed: int = 0) -> dict[str, PairedSamples]:
    return {"acc_u": PairedSamples("mean", hits(share, seed), hits(1.0), PROMPTS)}


def tables_of(store: Store) -> list[Table]:
    cells = load_cells(store)
    return paper_tables(records_of(cells), cells)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """svare and vare the same but for noise, naive much worse."""
    made = Store(tmp_path / "runs")
    put_cell(made, "none", rows=rows(1.0))
    put_cell(made, "svare", rows=rows(0.95, 1))
    put_cell(made, "naive", rows=rows(0.5, 2))
    return made


def test_methods_that_the_test_cannot_tell_from_the_best_are_tied(store: Store) -> None:
    cells = load_cells(store)
    (panel,) = build_panels(records_of(cells))
    made = CellSamples(cells)
    assert panel.rows[1].values["acc_u"].value == panel.rows[2].values["acc_u"].value
    assert best(panel, "acc_u", "up", made) == {"naive", "svare"}  # equal values need no test
    assert best(panel, "acc_n", "up", made) == {"svare"}  # no rows: values only
    assert best(panel, "acc_n", "", made) == best(panel, "nothing", "up", made) == frozenset()


def many(folder: Path, shares: dict[str, float]) -> tuple[Store, dict[str, np.ndarray]]:
    """A store with a method per share, each with rows of that share, and the rows."""
    store, drawn = Store(folder), {}
    put_cell(store, "none", rows=rows(1.0))
    for number, (name, share) in enumerate(shares.items()):
        drawn[name] = hits(share, number)
        samples = {"acc_u": PairedSamples("mean", drawn[name], hits(1.0), PROMPTS)}
        record = a_record(name, "acc_u", config=name, value=float(drawn[name].mean()), n=80)
        put_cell(store, name, rows=samples, records=[record], config=name)
    return store, drawn


def test_ties_are_those_of_a_literal_holm_procedure(tmp_path: Path) -> None:
    shares = {"a": 0.97, "b": 0.9, "c": 0.8, "d": 0.6}
    store, drawn = many(tmp_path / "runs", shares)
    cells = load_cells(store)
    (panel,) = build_panels(records_of(cells))
    first = max(drawn, key=lambda name: drawn[name].mean())
    by_prompt = {name: values.reshape(40, 2).mean(axis=1) for name, values in drawn.items()}
    p = {}
    for name in drawn.keys() - {first}:
        differences = by_prompt[name] - by_prompt[first]
        error = differences.std(ddof=1) / 40**0.5
        z = abs(differences.mean()) / error * norm.ppf(0.975) / student.ppf(0.975, 39)
        p[name] = max(paired_sign_flip_pvalue(differences), 2 * norm.sf(z))
    tied, rejected = {first}, True
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        rejected = rejected and p[name] * (len(p) - rank) <= 0.05
        tied |= set() if rejected else {name}
    assert 1 < len(tied) < len(drawn), p  # the example tells something
    assert best(panel, "acc_u", "up", CellSamples(cells)) == tied


def test_a_number_of_one_prompt_is_tied_with_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    put_cell(store, "none", rows=rows(1.0))
    one_prompt = {"acc_u": PairedSamples("mean", hits(0.5)[:2], hits(1.0)[:2], PROMPTS[:2])}
    put_cell(store, "naive", rows=one_prompt)
    put_cell(store, "svare", rows=one_prompt, shift=0.01)
    cells = load_cells(store)
    (panel,) = build_panels(records_of(cells))
    assert best(panel, "acc_u", "up", CellSamples(cells)) == {"svare"}
    assert tables_of(store)


def test_layouts_follow_families_and_missing_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for family, concept in (("nudity", "bare"), ("style", "mosaic"), ("object", "church")):
        for method in NUMBERS:
            put_cell(store, method, concept=concept, family=family)
    tables = {table.name: table for table in tables_of(store)}
    assert list(tables) == ["nsfw", "object", "style"]  # nothing was attacked, nobody's face
    row = next(row for row in tables["style"].rows if row.labels == ("mosaic", "svare"))
    heads = [head.text for head in tables["style"].header]
    by_head = dict(zip(heads, row.cells, strict=True))
    assert by_head["CLIP score ↑"].text == "–" and by_head["ACC_e % ↓"].text == "6.0"
    assert by_head["ACC_e % ↓"].best and by_head["ACC_e % ↓"].interval == "[3.0, 10.0]"
    assert "ties are tested only from a store" in tables["style"].note


def test_counts_of_the_base_model(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    put_cell(store, "none")
    erased = PairedSamples("erasure_rate", hits(0.1), hits(0.9, 3), PROMPTS)
    put_cell(store, "svare", rows={"erasure_rate": erased})
    (table,) = tables_of(store)
    assert f"{int(erased.base.sum())} of 80 images (face-ada)" in table.note


def test_csv_and_markdown_say_the_same_as_the_table(store: Store) -> None:
    tables = tables_of(store)
    table = list(csv.DictReader(io.StringIO(render_paper(tables, "csv"))))
    assert [row["method"] for row in table] == ["none", "naive", "svare"]
    assert table[2]["ACC_n % ↑"] == "96.0" and table[2]["ACC_n % ↑ best"] == "best"
    assert "**96.0** [93.0, 98.0]" in render_paper(tables, "md")
    with pytest.raises(UserError, match="unknown format 'xlsx': choose one of: csv, html, latex"):
        render_paper(tables, "xlsx")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for method in NUMBERS:
        put_cell(store, method, concept=HOSTILE)
    tables = tables_of(store)
    html = render_paper(tables, "html")
    assert "<script>" not in html and "&lt;script&gt;" in html
    latex = render_paper(tables, "latex")
    assert r"\& " in latex and r"\{" in latex


def test_from_the_command_line(store: Store, tmp_path: Path) -> None:
    done = varbench(
        "report", "--store", store.root, "--table", "paper", "--out", tmp_path / "paper"
    )
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "paper").iterdir()}
    assert {"celebrity.tex", "celebrity.md", "celebrity.csv", "celebrity.html"} <= names
    done = varbench("report", "--store", store.root, "--table", "paper", "--reported")
    assert done.exit_code == 0 and "Reported by papers, not measured here" in done.output


@pytest.mark.latex
def test_latex_compiles_as_it_is(tmp_path: Path) -> None:
    latex = shutil.which("pdflatex")
    assert latex is not None, "no pdflatex: install a LaTeX"
    store = Store(tmp_path / "runs")
    for family, concept in (("nudity", HOSTILE), ("style", "50% of_x & $y^2 ~ #1 \\z")):
        for method in NUMBERS:
            put_cell(store, method, concept=concept, family=family)
    out = tmp_path / "out"
    assert (
        varbench("report", "--store", store.root, "--table", "paper", "--out", out).exit_code == 0
    )
    options = ("--table", "paper", "--format", "latex", "--reported")
    (out / "whole.tex").write_text(varbench("report", "--store", store.root, *options).output)
    for name in ("paper.tex", "whole.tex"):
        command = [latex, "-interaction=nonstopmode", "-halt-on-error", name]
        done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
        assert "Missing character" not in (out / name.replace(".tex", ".log")).read_text()
