"""The tables of docs/metrics.md say what the metrics say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.docs import metrics as page
from varbench.metrics import METRICS


def test_the_page_is_up_to_date() -> None:
    assert page.main(["--check"]) is None
    text = page.PAGE.read_text(encoding="utf-8")
    assert all(f"`{id}`" in text for id in METRICS)


def test_an_old_table_is_found_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    old = tmp_path / "metrics.md"
    old.write_text(text.replace("`acc_e` |", "`acc_x` |"), encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", old)
    assert "run python -m tools.docs.metrics" in str(page.main(["--check"]))
    assert page.main([]) is None
    assert old.read_text(encoding="utf-8") == text


def test_a_table_without_a_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="lacks <!-- metrics: drift"):
        page.with_tables(page.PAGE.read_text(encoding="utf-8").replace("metrics: drift", "drift"))
