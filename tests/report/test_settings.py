"""Numbers of other settings, or of other content, never share a panel, a file or a frame's row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import varbench
from tests.helpers.report import page_of, put_cell, table_text
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.publish import publish
from varbench.leaderboard.records import load_results
from varbench.report import Filters, ReportError, load_cells, load_records, records_of, select
from varbench.report.panels import build_panels
from varbench.report.settings import differences, settings_id, settings_of
from varbench.store import Store


def spec(guidance: float, **more: Any) -> dict[str, Any]:
    model = {"name": "gallery", "sampling": {"guidance": guidance}}
    return {"config": {"model": model, "method": {"a": guidance}, "pairs": 3}, **more}


@pytest.fixture
def mixed(tmp_path: Path) -> Store:
    """Two methods with guidance 3, of which one ran with guidance 6 afterwards."""
    store = Store(tmp_path / "runs")
    for method in ("none", "svare"):
        put_cell(store, method, spec=spec(3), turn=1)
    put_cell(store, "none", shift=-0.5, spec=spec(6), prompt="elsewhere")
    return store


def test_a_report_has_a_panel_for_each_of_the_settings(mixed: Store, tmp_path: Path) -> None:
    panels = build_panels(load_records(mixed))
    by_size = {len(panel.rows): panel for panel in panels}
    assert len(panels) == 2 and by_size.keys() == {1, 2}
    assert by_size[1].differs == "model.sampling.guidance 6 (others 3)"
    assert by_size[2].differs == "model.sampling.guidance 3 (others 6)"
    assert by_size[2].rows[0].values["acc_e"].value == 0.96
    assert all(panel.settings in panel.title and panel.differs in panel.note for panel in panels)
    page = page_of(mixed, tmp_path / "out")
    assert all(f"settings {panel.settings}" in page.text for panel in panels)
    assert all(len(panel.cells_of(load_cells(mixed))) == len(panel.rows) for panel in panels)


def test_one_of_the_settings_is_shown_on_request(mixed: Store) -> None:
    (wanted,) = {cell.settings for cell in load_cells(mixed) if cell.method == "svare"}
    done = varbench("report", "--store", mixed.root, "--settings", wanted[:5], "--format", "json")
    assert done.exit_code == 0 and f'"settings": "{wanted}"' in done.stdout
    assert set(load_results(mixed.root).settings) > {wanted}
    assert len({cell.settings for cell in select(load_cells(mixed), Filters())}) == 2
    done = varbench("report", "--store", mixed.root, "--settings", "xyz")
    assert done.exit_code == 2 and "no results for settings 'xyz'; there are: " in done.output
    with pytest.raises(ReportError, match=wanted):
        load_records(mixed, Filters(settings=("xyz",)))
    assert table_text(load_records(mixed, Filters(settings=(wanted,))))["none"]["ACC_e ↓"]


def test_a_mixture_is_not_published(mixed: Store, tmp_path: Path) -> None:
    with pytest.raises(
        ResultsError, match=r"several settings \(.*guidance.*--settings [0-9a-f]{8}"
    ):
        publish(mixed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_settings_written_later_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_cell(store, "svare", spec=spec(3, edit={"version": 1}))
    put_cell(store, "svare", shift=0.01, spec=spec(3, edit={"version": 2}))
    assert len(load_cells(store)) == 1


def test_settings_leave_out_what_is_the_method_s_own() -> None:
    whole = spec(3, edit={"a": 1}, steering=None, seed=4, concept="c", erased=["c"], metrics={})
    others = spec(3, edit=None, steering={"b": 1}, seed=0, concept="c", erased=["c"], metrics={})
    others["config"] = others["config"] | {"method": {}, "pairs": 0}
    assert settings_id(settings_of(whole)) == settings_id(settings_of(others))
    assert settings_of(whole | {"erased": ["c", "d"]}) != settings_of(whole)


def test_differences_are_named() -> None:
    first = {"config": {"suite": {"groups": {"a": {"prompts": 1}}}}, "concept": "0" * 64}
    second = {"config": {"suite": {"groups": {}}}, "concept": "1" * 64, "model": "ab" * 8}
    assert differences(first, [second]) == "with suite.groups.a, concept changed, without weights"
    assert differences(second, [first]) == "without suite.groups.a, concept changed, with weights"
    metrics = {"metrics": {name: 1 for name in "abcdefgh"}}
    assert differences(metrics, [{"metrics": {}}]).endswith("with metrics.e, and 3 more")
    assert differences({"a": 1}, [{"a": 2}, {"a": 3}]) == "a 1 (others 2, 3)"


def test_published_results_of_other_settings_are_panels_of_their_own(small_store: Path) -> None:
    from varbench.leaderboard import records
    from varbench.leaderboard.publish import results_of

    (first, _), (second, rows) = results_of(load_cells(Store(small_store)), ())
    made = second.provenance.model_copy(update={"concept_sha256": "0" * 64})
    results = [first, second.model_copy(update={"provenance": made})]
    panels = build_panels(records.records_of(results))
    assert [panel.differs for panel in panels] == ["concept changed"] * 2
    cells = records.cells_of(results, lambda result: rows)
    assert [len(panel.cells_of(cells)) for panel in panels] == [1, 1]
    assert len(build_panels(records_of(load_cells(Store(small_store))))) == 1
