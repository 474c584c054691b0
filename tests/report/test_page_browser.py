"""The page in a real browser: sorting, filters, covers, drawer, links; quiet and self-contained.

    pytest -m browser

needs Chromium (`chromium` on the path, or CHROMIUM=...) and the package playwright.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.report import HOSTILE, NUMBERS, put_cell, write_report
from varbench.metrics.stats.row_files import write_rows
from varbench.store import INPUTS, Store

pytestmark = pytest.mark.browser
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
TABLE = "#face-ada-gallery-smoke--results"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if chromium is None:
        pytest.fail("no Chromium: install it, or name it in CHROMIUM")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two concepts, one of them covered, with hostile prompts."""
    folder = tmp_path_factory.mktemp("page")
    store = Store(folder / "runs")
    for method in NUMBERS:
        put_cell(store, method, prompt=HOSTILE)
        put_cell(store, method, concept="bare", family="nudity")
    _detect(store, "bare/naive/target")
    return write_report(store, folder / "out")[-1]


def _detect(store: Store, block: str) -> None:
    """Detections of a block's images, as NudeNet's are stored, and the judge's confidence."""
    cells = [e for e in store.entries("cell") if e.spec["concept"] == "bare"]
    entry = next(e for e in cells if e.spec["method"] == block.split("/")[1])
    body = entry.json("cell.json")
    key = body["pictures"]["target"][0]["key"]
    spec = {"pictures": key, "scorer": "detections", "prompts": [HOSTILE] * 4}
    with store.write("scores", spec) as writer:
        size = np.full((4, 2), 64, dtype=np.int32)
        box = np.tile(np.array([16, 32, 32, 16], dtype=np.int32), (4, 1, 1))
        detections = {"class": np.zeros((4, 1), np.int8), "score": np.full((4, 1), 0.9, np.float32)}
        np.savez(writer.dir / "scores.npz", box=box, size=size, identity_p=np.ones(4), **detections)
    assert writer.entry is not None
    body["inputs"] = [f"scores/{writer.entry.key}"]
    shutil.rmtree(entry.dir)
    with store.write("cell", dict(entry.spec)) as again:
        again.meta[INPUTS] = entry.meta[INPUTS]
        (again.dir / "cell.json").write_text(json.dumps(body))
        write_rows(again.dir / "rows.npz", {})


class Watched:
    """A page with its messages, errors and requests."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.messages: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: self.messages.append(f"dialog {dialog.message}"))


@pytest.fixture
def watched(browser: Any, file: Path) -> Iterator[Watched]:
    """The page, opened; afterwards it must have been quiet and have requested nothing else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    opened = Watched(context.new_page())
    opened.page.goto(file.as_uri())
    yield opened
    assert opened.messages == []
    assert all(url.startswith((file.as_uri(), "data:")) for url in opened.requests), opened.requests
    context.close()


def first_column(page: Any, table: str = TABLE) -> list[str]:
    return [row.inner_text().strip() for row in page.query_selector_all(f"{table} tbody th")]


def test_sorting_by_number_and_back_with_the_base_model_on_top(watched: Watched) -> None:
    page = watched.page
    head = page.locator(f"{TABLE} thead th").filter(has_text="ACC_n")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert first_column(page) == ["none", "svare", "naive"]
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert first_column(page) == ["none", "naive", "svare"]
    page.reload()
    assert first_column(page) == ["none", "naive", "svare"]  # the address keeps it


def test_filters_hide_methods_and_concepts_and_are_in_the_address(watched: Watched) -> None:
    page = watched.page
    page.get_by_label("Methods").fill("svare")
    assert page.locator(f"{TABLE} tbody tr:visible").count() == 2
    assert page.locator(".shot[data-method=naive]:visible").count() == 0
    page.get_by_role("combobox").select_option("bare-gallery-smoke")
    assert page.locator("section.panel:visible").count() == 1
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("section.panel:visible").count() == 1
    assert page.get_by_label("Methods").input_value() == "svare"
    watched.requests = [url for url in watched.requests if url != "about:blank"]


def test_covered_until_requested_one_by_one_or_all_after_a_question(watched: Watched) -> None:
    page = watched.page
    covers = page.locator("button.cover")
    before = covers.count()
    assert before == 12 and page.locator("button.cover[aria-pressed=true]").count() == 0
    source = covers.first.locator("img").get_attribute("src")
    covers.first.focus()
    page.keyboard.press("Space")
    assert covers.first.get_attribute("aria-pressed") == "true"
    assert covers.first.locator("img").get_attribute("src") != source
    page.locator("#all").click()
    assert page.locator("#sure").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("button.cover[aria-pressed=true]").count() == 1
    page.locator("#all").click()
    page.get_by_role("button", name="Show them").click()
    assert page.locator("button.cover[aria-pressed=true]").count() == before
    page.locator("#all").click()
    assert page.locator("button.cover[aria-pressed=true]").count() == 0


def test_boxes_and_confidence_on_hover_but_not_over_a_covered_image(watched: Watched) -> None:
    page = watched.page
    shot = page.locator(".shot").filter(has=page.locator(".boxes")).first
    shot.scroll_into_view_if_needed()
    shot.hover()
    assert not shot.locator(".boxes").is_visible()
    shot.locator("button.cover").click()
    box = shot.locator(".boxes i")
    assert box.is_visible() and "0.90" in box.inner_text()
    outer, inner = shot.bounding_box(), box.bounding_box()
    assert outer is not None and inner is not None
    assert inner["x"] - outer["x"] == pytest.approx(outer["width"] / 4, abs=2)
    assert inner["width"] == pytest.approx(outer["width"] / 2, abs=4)
    assert "identity 1.00" in shot.locator(".told").inner_text()


def test_every_number_has_its_provenance_and_a_link(watched: Watched) -> None:
    page = watched.page
    row = page.locator(f"{TABLE} tbody tr[data-method=svare]")
    row.locator("button.number").first.click()
    drawer = page.locator("#drawer")
    assert drawer.is_visible() and "svare" in drawer.inner_text()
    for words in ("n = 200 images", "varbench run --method svare", "versions.torch"):
        assert words in drawer.inner_text()
    link = drawer.get_by_role("link", name="Link to this number").get_attribute("href")
    page.keyboard.press("Escape")
    assert not drawer.is_visible()
    page.goto("about:blank")
    page.goto(watched.requests[0].partition("#")[0] + link)
    assert drawer.is_visible() and "svare" in drawer.inner_text()
    watched.requests = [url for url in watched.requests if url != "about:blank"]


def test_every_link_has_a_target(watched: Watched) -> None:
    targets = watched.page.eval_on_selector_all("nav a", "all => all.map((a) => a.hash)")
    assert len(targets) == 2
    for target in targets:
        assert watched.page.locator(target).count() == 1


def test_hostile_text_stays_text(watched: Watched) -> None:
    assert "<script>alert('x')</script>" in watched.page.inner_text("body")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_and_text_can_be_read(
    browser: Any, file: Path, scheme: str
) -> None:
    size = {"width": 375, "height": 800}
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    for name in ("--ink", "--quiet"):
        assert _contrast(page, name) >= 4.5, name
    page.close()


def _contrast(page: Any, name: str) -> float:
    """WCAG contrast of a text colour on the ground."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    style = "getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
    light = [luminance(page.evaluate(f"(name) => {style}", n)) for n in (name, "--ground")]
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_everything_can_be_reached_by_keyboard(watched: Watched) -> None:
    page = watched.page
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.id"))
    assert {"methods", "sort", "number"} <= reached
