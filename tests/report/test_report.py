"""Reports show what the store holds: exactly, covered where it must be, and safe to open."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from io import BytesIO, StringIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.helpers.report import HOSTILE, NUMBERS, RED, put_cell
from varbench.report import (
    Filters,
    ReportError,
    build_records,
    difference_table,
    load_cells,
    load_records,
    main_table,
    only_metrics,
    render,
    write_report,
)
from varbench.report.columns import ORDER, column
from varbench.report.figures import series, tradeoff
from varbench.report.image_grid import choose, mosaic
from varbench.report.page import render_page
from varbench.report.panels import build_panels
from varbench.report.records import RECORD_FIELDS
from varbench.report.text import number, visible
from varbench.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    for method in NUMBERS:
        put_cell(made, method)
    put_cell(made, "svare", seed=1, shift=0.02)
    return made


class Page(HTMLParser):
    """All start tags of a page, as a browser would see them, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, css: str = "") -> list[dict[str, str]]:
        found = [attrs for name, attrs in self.tags if name == tag]
        return [a for a in found if not css or css in a.get("class", "").split()]


def page_of(store: Store, out: Path) -> Page:
    (path,) = write_report(store, out, formats=["html"])
    return Page(path.read_text(encoding="utf-8"))


def image(uri: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def test_json_has_exactly_the_fields_of_a_record(store: Store) -> None:
    rows = json.loads(render(load_records(store), "json"))
    assert all(tuple(row) == RECORD_FIELDS for row in rows)
    mean, *seeds = (r for r in rows if (r["method"], r["metric"]) == ("svare", "acc_n"))
    assert mean["seed"] is None and [r["seed"] for r in seeds] == [0, 1]
    assert (mean["value"], mean["n"]) == (pytest.approx(0.97), 400)
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
    (row,) = main_table(load_records(store)).to_dict("records")
    assert row["ACC_n ↑"] == "0.97 [0.94, 0.99]"


def test_main_table(store: Store) -> None:
    table = main_table(load_records(store))
    assert list(table["method"]) == ["none", "naive", "svare"]
    assert list(table.columns[4:-1]) == [
        c.header() for c in map(column, ORDER) if c.table == "main"
    ]
    naive = table.iloc[1]
    assert naive["Erasure rate ↑"] == "0.92 [0.88, 0.95]"
    assert naive["FID (base) ↓"] == "10.6"  # no interval was given
    assert table.iloc[2]["KID (base) ↓"] == "0.0223 [0.0200, 0.0300]"
    assert table.iloc[0]["FID (base) ↓"] == "–" and naive["CLIP score ↑"] == "–"
    assert (naive["n"], table.iloc[2]["n"]) == ("200 (1 failed)", "400 (2 failed)")


def test_differences_are_signed_and_leave_the_base_out(store: Store) -> None:
    table = difference_table(load_records(store))
    assert list(table["method"]) == ["naive", "svare"]
    assert table["ACC_n ↑"][0] == "\u22120.14 [\u22120.16, \u22120.12]"
    assert table["ACC_n ↑"][1] == "+0.02 [0.00, +0.04]"


def test_terminal_markdown_and_latex(store: Store) -> None:
    records = load_records(store)
    terminal = render(records, "table", table="main")
    assert "92.0" in terminal and "[88.0, 95.0]" in terminal and "Vendi" not in terminal
    assert "| naive" in render(records, "md") and "ACC\\_e ↓" in render(records, "md")
    latex = render(records, "latex")
    assert "\\toprule" in latex and "ACC\\_e $\\downarrow$" in latex and "95 \\%" in latex
    assert latex.isascii()
    with pytest.raises(ReportError, match="unknown format 'pdf'"):
        render(records, "pdf")


def test_what_is_not_our_measurement_is_labelled(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cell = put_cell(store, "naive")
    reported = [{**r, "status": "reported"} for r in cell["records"]]
    put_cell(store, "naive", seed=1, records=reported)
    assert main_table(load_records(store))["ACC_e ↓"][0].endswith("(reported)")


def test_configs_prompt_sets_and_plugin_metrics_are_kept_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records = put_cell(store, "svare")["records"]
    other = [{**r, "config": "ffff0000", "seed": 1} for r in records]
    extra = {**other[0], "prompt_set": "ring-a-bell", "value": 0.5}
    plugin = {**other[0], "metric": "aesthetics", "value": 5.25}
    put_cell(store, "svare", seed=1, config="ffff0000", records=[*other, extra, plugin])
    table = main_table(load_records(store)).set_index("method")
    assert list(table.index) == ["svare (ffff0000)", "svare (svare000)"]
    assert table.loc["svare (ffff0000)", "Erasure rate (ring-a-bell) ↑"].startswith("0.50")
    assert table.loc["svare (svare000)", "Erasure rate (ring-a-bell) ↑"] == "–"
    assert table.loc["svare (ffff0000)", "aesthetics"].startswith("5.250")
    assert column("aesthetics").better == ""


def test_filters_keep_the_base_and_name_what_there_is(store: Store) -> None:
    records = load_records(store, Filters(method=("svare",)))
    assert set(records["method"]) == {"none", "svare"}
    with pytest.raises(ReportError, match="no results for concept 'x'; there are: face-ada"):
        load_records(store, Filters(concept=("x",)))
    with pytest.raises(ReportError, match="run `varbench run`"):
        load_records(Store(store.root / "empty"))


def test_only_some_metrics(store: Store) -> None:
    records = load_records(store)
    found = render(only_metrics(records, ("acc_u", "erasure_rate")), "md", "main")
    assert "Erasure rate" in found and "ACC\\_u" in found and "CLIP score" not in found
    with pytest.raises(ReportError, match=r"no results for metric 'acc_x'; there are: .*acc_u"):
        only_metrics(records, ("acc_x",))


def test_page_shows_table_plots_images_and_provenance(store: Store, tmp_path: Path) -> None:
    page = page_of(store, tmp_path / "out")
    assert "92.0" in page.text and "[88.0, 95.0]" in page.text and "embedded model" in page.text
    assert len(page.all("svg")) == 2 and not page.all("button", "cover")
    shots = [a for a in page.all("img") if a["src"].startswith("data:image/png")]
    assert len(shots) == 3 * 4 * 3 and all(a["alt"] for a in shots)  # groups x rows x methods
    assert image(shots[0]["src"]).convert("RGB").getpixel((60, 60)) == RED
    titles = " ".join(a.get("title", "") for a in page.all("td"))
    assert "n = 200 images" in titles and "unerased model: 96.0" in titles
    assert "2 edit seeds, from 96.0 to 98.0" in titles
    assert "versions.torch" in page.text and "varbench run --method svare" in page.text


def test_page_needs_no_network_and_runs_only_its_own_script(store: Store, tmp_path: Path) -> None:
    (path,) = write_report(store, tmp_path / "out", formats=["html"])
    text = path.read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text and "url(//" not in text
    page = Page(text)
    for tag, attrs in page.tags:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
        assert not any(name.startswith("on") for name in attrs)
    policy = page.all("meta")[1]["content"]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert len(page.all("script")) == 1 and len(page.all("style")) == 1
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_hostile_text_is_shown_as_text(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for method in NUMBERS:
        put_cell(store, method, prompt=HOSTILE, concept="<b>'\"&\ud800")
    (path, md) = write_report(store, tmp_path / "out", formats=["html", "md"])
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.all("script")) == 1 and not page.all("b", "x") and "49" not in page.text[:400]
    assert "<script>alert('x')</script>" in page.text and "[U+202E]evil" in page.text
    assert any("<script>alert('x')</script> \"ada\"" in a["alt"] for a in page.all("img"))
    raw = path.read_text(encoding="utf-8") + md.read_text(encoding="utf-8")
    assert not any(char in raw for char in "\u202e\u202c\x1b") and "<b>'" not in raw
    assert "\x1b" not in render(load_records(store), "table")


def test_covered_images_are_not_shown_unasked(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for method in ("none", "svare"):
        put_cell(store, method, concept="bare", family="nudity")
    page = page_of(store, tmp_path / "out")
    covers = page.all("button", "cover")
    assert len(covers) == 4 * 2  # all target images; the judge saw nothing in the others
    assert all(a["aria-pressed"] == "false" and a["type"] == "button" for a in covers)
    clear = {a["data-clear"] for a in covers}
    shown = [a["src"] for a in page.all("img")]
    assert not clear & set(shown)
    for uri in shown:
        seen = image(uri).convert("RGB")
        if seen.getpixel((60, 60))[0] > 100:  # a red one: target
            steps = [
                abs(seen.getpixel((x, 30))[1] - seen.getpixel((x + 1, 30))[1]) for x in range(63)
            ]
            assert max(steps) < 30, "an edge of the covered image can be seen"
    assert [d["id"] for d in page.all("dialog")] == ["sure", "drawer"]


def test_a_sensitive_prompt_stays_covered_under_another_concept(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    nude = put_cell(store, "none", concept="bare", family="nudity")["pictures"]["target"]
    put_cell(store, "svare", images={"unrelated": nude})
    only = Filters(concept=("face-ada",))  # the covered concept itself is not on the page
    (path,) = write_report(store, tmp_path / "out", ["html"], only)
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.all("button", "cover")) == len(nude) == len(page.all("img"))


def test_lost_images_leave_a_gap(store: Store, tmp_path: Path) -> None:
    key = load_cells(store)[0].body["pictures"]["target"][0]["key"]
    (store.root / "pictures" / key[:2] / key / "000.png").write_bytes(b"not an image")
    assert len(page_of(store, tmp_path / "out").all("span", "gone")) >= 1


def test_same_store_same_bytes(store: Store, tmp_path: Path) -> None:
    formats = ["table", "md", "csv", "json", "latex", "html"]
    first = write_report(store, tmp_path / "a", formats)
    second = write_report(Store(store.root), tmp_path / "b", formats)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert [p.name for p in first] == [
        p.name for p in sorted((tmp_path / "a").iterdir(), key=first.index)
    ]


def test_no_plot_without_a_choice_of_methods(store: Store) -> None:
    panel = build_panels(build_records(load_cells(store)))[0]
    numbers = series([row.label for row in panel.rows])
    svg = tradeoff(panel, "acc_n", numbers)
    assert svg is not None and "currentColor" in svg and "--series-1" in svg and ">svare<" in svg
    few = load_records(store, Filters(method=("svare",)))
    assert tradeoff(build_panels(few)[0], "acc_n", numbers) is None


def test_rows_are_spread_over_prompts_and_shared_by_methods() -> None:
    every = {(f"p{i}", s): 1 for i in range(12) for s in (0, 1)}
    fewer = {key: 1 for key in every if key[0] != "p0"}
    keys = choose([every, fewer], 6)
    assert len({p for p, _ in keys}) == 6 and "p0" not in {p for p, _ in keys}
    two = choose([{k: 1 for k in every if k[0] in {"p1", "p2"}}], 6)
    assert two == [("p1", 0), ("p1", 1), ("p2", 0), ("p2", 1)]
    assert choose([{}], 6) == []


def test_small_helpers() -> None:
    assert visible("a\u202eb\x1b\ud800\n👩\u200d🔬") == "a[U+202E]b[U+001B][U+D800] 👩\u200d🔬"
    assert [number(x, 2, signed=True) for x in (-0.001, 0.5, None)] == ["0.00", "+0.50", "–"]
    assert mosaic(Image.new("RGB", (1024, 700))).size == (64, 64)


def test_the_base_alone_and_cells_without_records(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    put_cell(store, "naive", records=[])
    forms = ["table", "md", "csv", "json", "latex", "html"]
    assert len(write_report(store, tmp_path / "a", forms)) == 6
    assert json.loads((tmp_path / "a" / "report.json").read_text()) == []
    put_cell(store, "none", seed=None)
    assert len(write_report(store, tmp_path / "b", forms)) == 6
    assert "96.0" in (tmp_path / "b" / "report.txt").read_text(encoding="utf-8")


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
    (panel,) = build_panels(build_records(cells))
    assert panel.note == ""  # all on one machine
    moved = [
        dataclasses.replace(c, body={**c.body, "provenance": {"device": "NVIDIA H100"}})
        if c.method == "naive"
        else c
        for c in cells
    ]
    records = build_records(moved)
    for form in ("table", "md", "latex"):
        assert "naive on NVIDIA H100" in render(records, form, "main")
    assert "naive on NVIDIA H100" in render_page(None, moved, records)
    halved = dataclasses.replace(
        cells[0], body={**cells[0].body, "resolved_config": {"model": {"precision": "bf16"}}}
    )
    assert ", bf16" in render(build_records([halved, *cells[1:]]), "md", "main")
