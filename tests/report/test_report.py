"""Records, tables and formats show what the store holds, exactly."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.helpers.report import page_of, put_cell, put_edit, table_text, write_report
from varbench.errors import UserError
from varbench.metrics.record import RECORD_FIELDS, REPORT_FIELDS
from varbench.report import (
    Filters,
    ReportError,
    load_cells,
    load_records,
    only_metrics,
    records_of,
    render,
)
from varbench.report.columns import column
from varbench.report.image_grid import mosaic
from varbench.report.page import render_page
from varbench.report.panels import build_panels
from varbench.report.tables import TABLES
from varbench.report.text import number, visible
from varbench.store import Store


def test_json_has_exactly_the_fields_of_a_record(store: Store) -> None:
    rows = json.loads(render(load_records(store), "json"))
    assert all(tuple(row) == REPORT_FIELDS for row in rows)
    mean, *seeds = (r for r in rows if (r["method"], r["metric"]) == ("svare", "acc_n"))
    assert mean["seed"] is None and [r["seed"] for r in seeds] == [0, 1]
    assert (mean["value"], mean["n"]) == (pytest.approx(0.97), 200)
    assert (mean["ci_low"], mean["ci_high"]) == (pytest.approx(0.94), pytest.approx(0.99))
    (fid, _) = (r for r in rows if r["metric"] == "fid_base")
    assert fid["ci_low"] is None and isinstance(fid["n"], int)


def test_csv_keeps_seeds_differences_and_the_spread_between_seeds(store: Store) -> None:
    frame = pd.read_csv(StringIO(render(load_records(store), "csv")))
    assert list(frame.columns[: len(RECORD_FIELDS)]) == list(RECORD_FIELDS)
    means = frame[(frame.method == "svare") & (frame.metric == "acc_e") & frame.seed.isna()]
    assert means[["seed_min", "seed_max", "seeds"]].values.tolist() == [[0.06, 0.08, 2]]
    assert means.diff_value.item() == pytest.approx(-0.89)


def test_a_mean_that_a_cell_holds_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_cell(store, "svare", seed=0)
    put_cell(store, "svare", seed=None, shift=0.01)
    assert table_text(load_records(store))["svare"]["ACC_n ↑"] == "0.97 [0.94, 0.99]"


def test_main_table(store: Store) -> None:
    table = table_text(load_records(store))
    assert list(table) == ["none", "naive", "svare"]
    assert list(table["none"]) == [
        "Erasure rate ↑", "ACC_e ↓", "ACC_n ↑", "ACC_u ↑", "FID (base) ↓", "KID (base) ↓", "n",
    ]  # fmt: skip
    assert table["naive"]["Erasure rate ↑"] == "0.92 [0.88, 0.95]"
    assert table["naive"]["FID (base) ↓"] == "10.6"  # no interval was given
    assert table["svare"]["KID (base) ↓"] == "0.0223 [0.0200, 0.0300]"
    assert table["none"]["FID (base) ↓"] == "–"
    assert (table["naive"]["n"], table["svare"]["n"]) == ("200 (1 failed)", "200 × 2 (1 failed)")
    assert table_text(load_records(store), percent=True)["naive"]["ACC_n % ↑"].startswith("81.0")


def test_differences_are_signed_and_leave_the_base_model_out(store: Store) -> None:
    table = table_text(load_records(store), "difference")
    assert list(table) == ["naive", "svare"]
    assert table["naive"]["ACC_n ↑"] == "\u22120.14 [\u22120.16, \u22120.12]"
    assert table["svare"]["ACC_n ↑"] == "+0.02 [0.00, +0.04]"


def test_terminal_markdown_and_latex(store: Store) -> None:
    records = load_records(store)
    terminal = render(records, "table", table="main")
    assert "92.0" in terminal and "[88.0, 95.0]" in terminal and "Vendi" not in terminal
    assert "| naive" in render(records, "md") and "ACC\\_e ↓" in render(records, "md")
    latex = render(records, "latex")
    assert "\\toprule" in latex and "ACC\\_e $\\downarrow$" in latex and "95 \\%" in latex
    assert latex.isascii()
    with pytest.raises(UserError, match="unknown format 'pdf'"):
        render(records, "pdf")
    with pytest.raises(UserError, match="unknown table 'mian': did you mean 'main'"):
        render(records, "table", "mian")


def test_a_number_that_varbench_did_not_measure_is_labelled(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cell = put_cell(store, "naive")
    reported = [{**r, "status": "reported"} for r in cell["records"]]
    put_cell(store, "naive", seed=1, records=reported)
    assert table_text(load_records(store))["naive"]["ACC_e ↓"].endswith("(reported)")


def test_configs_prompt_sets_and_plugin_metrics_are_kept_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records = put_cell(store, "svare")["records"]
    other = [{**r, "config": "ffff0000", "seed": 1} for r in records]
    extra = {**other[0], "prompt_set": "ring-a-bell", "value": 0.5}
    plugin = {**other[0], "metric": "aesthetics", "value": 5.25}
    put_cell(store, "svare", seed=1, config="ffff0000", records=[*other, extra, plugin])
    table = table_text(load_records(store))
    assert list(table) == ["svare (ffff0000)", "svare (svare000)"]
    assert table["svare (ffff0000)"]["Erasure rate (ring-a-bell) ↑"].startswith("0.50")
    assert table["svare (svare000)"]["Erasure rate (ring-a-bell) ↑"] == "–"
    assert table["svare (ffff0000)"]["aesthetics"].startswith("5.250")
    assert column("aesthetics").info.better == ""


def test_tables_without_numbers_are_left_out_and_all_formats_hold_all_tables(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    put_cell(store, "none")
    assert list(TABLES) == ["main", "difference", "nudity", "drift", "robustness", "cost"]
    text = render(load_records(store), "table")
    assert "drift" not in text and "cost" not in text
    store = Store(tmp_path / "more")
    edit = put_edit(store, "cheap", seconds=12.5, memory=None, parameters=5)
    records = put_cell(store, "svare", edit=edit)["records"]
    drift = {**records[0], "metric": "ld2", "value": 0.875, "ci_low": 0.85, "ci_high": 0.9}
    drift |= {"n": 50, "n_failed": 0}
    put_cell(store, "svare", edit=edit, records=[*records, drift], seed=1)
    every = load_records(store)
    for form, sign in (("table", "≈"), ("md", "≈"), ("latex", r"$\approx$")):
        text = render(every, form)
        assert f"LD2 {sign}" in text and "0.875" in text and "12.5" in text
    drifted = table_text(every, "drift")["svare"]
    assert (drifted["LD2 ≈"], drifted["n"]) == ("0.875 [0.850, 0.900]", "50")
    images = table_text(every)["svare"]["n"]
    assert images.startswith("200 × 2 ")  # the probe's prompts are no images
    page = page_of(store, tmp_path / "out")
    assert "Language drift" in page.text and "0.875" in page.text and "12.5" in page.text


def test_filters_keep_the_base_model_and_name_the_choices(store: Store) -> None:
    records = load_records(store, Filters(method=("svare",)))
    assert {record.method for record in records} == {"none", "svare"}
    with pytest.raises(ReportError, match="no results for concept 'x'; there are: face-ada"):
        load_records(store, Filters(concept=("x",)))
    with pytest.raises(ReportError, match="run `varbench run`"):
        load_records(Store(store.root / "empty"))


def test_a_selection_of_metrics(store: Store) -> None:
    records = load_records(store)
    text = render(only_metrics(records, ("acc_u", "erasure_rate")), "md", "main")
    assert "Erasure rate" in text and "ACC\\_u" in text and "CLIP score" not in text
    with pytest.raises(ReportError, match=r"no results for metric 'acc_x'; there are: .*acc_u"):
        only_metrics(records, ("acc_x",))


def test_same_store_same_bytes(store: Store, tmp_path: Path) -> None:
    first = write_report(store, tmp_path / "a")
    second = write_report(Store(store.root), tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert [p.name for p in first] == ["report.md", "report.csv", "report.json", "index.html"]
    assert sorted(first) == sorted((tmp_path / "a").iterdir())


def test_small_helpers() -> None:
    assert visible("a\u202eb\x1b\ud800\n👩\u200d🔬") == "a[U+202E]b[U+001B][U+D800] 👩\u200d🔬"
    assert [number(x, 2, signed=True) for x in (-0.001, 0.5, None)] == ["0.00", "+0.50", "–"]
    assert mosaic(Image.new("RGB", (1024, 700))).size == (64, 64)


def test_the_base_model_alone_and_cells_without_records(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    put_cell(store, "naive", records=[])
    write_report(store, tmp_path / "a")
    assert json.loads((tmp_path / "a" / "report.json").read_text()) == []
    assert not any("0.9" in render(load_records(store), form) for form in ("table", "latex"))
    put_cell(store, "none", seed=None)
    write_report(store, tmp_path / "b")
    assert "96.0" in render(load_records(store), "table")
    assert "0.96" in render(load_records(store), "latex")


def test_torch_is_never_imported() -> None:
    code = (
        "import sys, varbench.report\n"
        "print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_report_says_where_devices_or_precision_differ(store: Store) -> None:
    cells = [
        dataclasses.replace(c, body={**c.body, "provenance": {"device": "x86_64"}})
        for c in load_cells(store)
    ]
    (panel,) = build_panels(records_of(cells))
    assert panel.note == ""  # all on one machine
    moved = [
        dataclasses.replace(c, body={**c.body, "provenance": {"device": "NVIDIA H100"}})
        if c.method == "naive"
        else c
        for c in cells
    ]
    records = records_of(moved)
    for form in ("table", "md", "latex"):
        assert "naive on NVIDIA H100" in render(records, form, "main")
    assert "naive on NVIDIA H100" in render_page(None, moved, records)
    halved = dataclasses.replace(
        cells[0], body={**cells[0].body, "resolved_config": {"model": {"precision": "bf16"}}}
    )
    assert ", bf16" in render(records_of([halved, *cells[1:]]), "md", "main")
