"""The page: covered where it must be, safe to open, and everything that its store holds."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.helpers.report import (
    HOSTILE,
    NUMBERS,
    RED,
    Page,
    a_record,
    image_in,
    page_of,
    put_cell,
    write_report,
)
from varbench.report import Filters, load_cells, load_records, page_plots, records_of, render
from varbench.report.image_grid import choose
from varbench.report.page import render_page
from varbench.report.page_plots import tradeoff_svg
from varbench.report.panels import build_panels
from varbench.report.plots import series
from varbench.store import Store, digest


def test_page_shows_table_plots_images_and_provenance(store: Store, tmp_path: Path) -> None:
    page = page_of(store, tmp_path / "out")
    assert "92.0" in page.text and "[88.0, 95.0]" in page.text and "embedded model" in page.text
    assert len(page.all("svg")) == 2 and not page.all("button", "cover")
    shots = [a for a in page.all("img") if a["src"].startswith("data:image/png")]
    assert len(shots) == 3 * 4 * 3 and all(a["alt"] for a in shots)  # groups x rows x methods
    assert image_in(shots[0]["src"]).convert("RGB").getpixel((60, 60)) == RED
    titles = " ".join(a.get("title", "") for a in page.all("td"))
    assert "n = 200 images" in titles and "base model: 96.0" in titles
    assert "2 edit seeds, from 96.0 to 98.0" in titles
    assert "versions.torch" in page.text and "varbench run --method svare" in page.text


def test_page_needs_no_network_and_runs_only_its_own_script(store: Store, tmp_path: Path) -> None:
    path = write_report(store, tmp_path / "out")[-1]
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
    md, *_, path = write_report(store, tmp_path / "out")
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.all("script")) == 1 and not page.all("b", "x") and "49" not in page.text[:400]
    assert "<script>alert('x')</script>" in page.text and "[U+202E]evil" in page.text
    assert any("<script>alert('x')</script> \"ada\"" in a["alt"] for a in page.all("img"))
    raw = path.read_text(encoding="utf-8") + md.read_text(encoding="utf-8")
    assert not any(char in raw for char in "\u202e\u202c\x1b") and "<b>'" not in raw
    assert "\x1b" not in render(load_records(store), "table")


def test_covered_images_are_shown_on_request_only(tmp_path: Path) -> None:
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
        shown_image = image_in(uri).convert("RGB")
        if shown_image.getpixel((60, 60))[0] > 100:  # a red one: target
            greens = [shown_image.getpixel((x, 30))[1] for x in range(64)]
            steps = [abs(left - right) for left, right in pairwise(greens)]
            assert max(steps) < 30, "an edge of the covered image can be seen"
    assert [d["id"] for d in page.all("dialog")] == ["sure", "drawer"]


def test_a_sensitive_prompt_stays_covered_under_another_concept(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    nude = put_cell(store, "none", concept="bare", family="nudity")["pictures"]["target"]
    put_cell(store, "svare", images={"unrelated": nude})
    only = Filters(concept=("face-ada",))  # the covered concept itself is not on the page
    page = page_of(store, tmp_path / "out", only)
    assert len(page.all("button", "cover")) == len(nude) == len(page.all("img"))


def test_lost_images_leave_a_gap(store: Store, tmp_path: Path) -> None:
    key = load_cells(store)[0].body["pictures"]["target"][0]["key"]
    (store.root / "pictures" / key[:2] / key / "000.png").write_bytes(b"not an image")
    assert len(page_of(store, tmp_path / "out").all("span", "gone")) >= 1


def test_no_plot_without_a_choice_of_methods(store: Store) -> None:
    panel = build_panels(records_of(load_cells(store)))[0]
    numbers = series([row.label for row in panel.rows])
    svg = tradeoff_svg(panel, "acc_n", numbers)
    assert svg is not None and "currentColor" in svg and "--series-1" in svg and ">svare<" in svg
    few = load_records(store, Filters(method=("svare",)))
    assert tradeoff_svg(build_panels(few)[0], "acc_n", numbers) is None


def test_rows_are_spread_over_prompts_and_shared_by_methods() -> None:
    every = {(f"p{i}", s): 1 for i in range(12) for s in (0, 1)}
    fewer = {key: 1 for key in every if key[0] != "p0"}
    keys = choose([every, fewer], 6)
    assert len({p for p, _ in keys}) == 6 and "p0" not in {p for p, _ in keys}
    two = choose([{k: 1 for k in every if k[0] in {"p1", "p2"}}], 6)
    assert two == [("p1", 0), ("p1", 1), ("p2", 0), ("p2", 1)]
    assert choose([{}], 6) == []


def test_every_section_has_a_link_target_of_its_own(store: Store) -> None:
    cells = load_cells(store)
    twins = [
        dataclasses.replace(
            cell,
            concept=concept,
            body={
                **cell.body,
                "records": [{**record, "concept": concept} for record in cell.body["records"]],
            },
        )
        for concept in ("a b", "a-b", "a_b")
        for cell in cells
    ]
    page = Page(render_page(None, twins, records_of(twins)))
    ids = [attributes["id"] for attributes in page.all("section", "panel")]
    assert ids == ["a-b-gallery-smoke", "a-b-gallery-smoke-2", "a-b-gallery-smoke-3"]


def test_drift_per_scale_is_that_of_the_method_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model's probes, whose drift is 0, are inputs of the cell too."""
    store, keys = Store(tmp_path / "runs"), []
    for name, drift in (("none", (0.0, 0.0)), ("svare", (0.2, 0.4))):
        with store.write("probe", {"of": name}) as writer:
            np.savez(writer.dir / "probe.npz", kl=np.array([drift], np.float32))
        keys.append(f"probe/{digest({'of': name})}")
    ld1 = a_record("svare", "ld1", value=0.3, details={"scales": [0.2, 0.4]})
    put_cell(store, "svare", records=[ld1], inputs=keys)
    drawn = []

    def draw(of: Callable[[Axes], None], title: str, *_: str) -> str:
        axes = Figure().add_subplot()
        of(axes)
        drawn.append((title, [[*map(float, line.get_ydata())] for line in axes.lines]))
        return ""

    monkeypatch.setattr(page_plots, "_svg", draw)
    (cell,) = load_cells(store)
    page_plots.scale_svgs([("S-VARE", cell)], {}, "a panel")
    assert drawn == [("Drift per scale on prompts that must stay", [[0.2, 0.4]])]
