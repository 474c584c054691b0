"""What an edit costs: measured while it is made, and told by the report from the manifests."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.report import put_cell, put_images
from tests.report.test_report import page_of
from varbench.report import load_records, render
from varbench.report.records import means
from varbench.report.tables import TABLES, cost_table, main_table
from varbench.store import Store, digest
from varbench.utils.metering import metered

MB = 1_000_000


def peak_while(megabytes: int) -> int:
    with metered("cpu") as cost:
        held = np.ones(megabytes * MB // 8)
        assert held[-1] == 1
    assert cost.memory is not None
    return cost.memory


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident sets as Linux does")
def test_the_peak_is_that_of_the_block_and_not_of_the_process() -> None:
    small, large, again = peak_while(10), peak_while(300), peak_while(10)
    assert 250 * MB < large - small < 350 * MB
    assert abs(again - small) < 100 * MB


def test_seconds_are_those_of_the_block() -> None:
    with metered("cpu") as cost:
        time.sleep(0.05)
    assert 0.05 <= cost.seconds < 5


@pytest.mark.gpu
def test_on_cuda_the_peak_is_what_the_device_held() -> None:
    torch.empty(400 * MB, dtype=torch.uint8, device="cuda")
    with metered("cuda") as cost:
        torch.empty(100 * MB, dtype=torch.uint8, device="cuda")
    assert cost.memory is not None
    assert cost.memory - torch.cuda.memory_allocated() == pytest.approx(100 * MB, rel=0.05)


def put_edit(store: Store, name: str, **meta: Any) -> str:
    spec = {"edit": name}
    with store.write("edit", spec) as writer:
        (writer.dir / "log.jsonl").write_text("")
        writer.meta |= meta
    return digest(spec)


def put_method(store: Store, method: str, seed: int, edit: str | None, extra_passes: int) -> None:
    spec = {"pictures": [method, seed]}
    with store.write("pictures", spec) as writer:
        writer.meta["extra_passes"] = extra_passes
    shot = {"prompt": "p", "prompt_id": "p", "seed": 0, "key": digest(spec), "file": "000.png"}
    put_cell(store, method, seed=seed, edit=edit, images={"target": [shot | {"hit": False}]})


def test_costs_are_means_over_seeds_from_the_manifests(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_cell(store, "none", edit=None)
    for seed, seconds in enumerate((10.0, 20.0)):
        cost = {"seconds": seconds, "memory": 3_000 * MB, "parameters": 2_663_424}
        put_method(store, "svare", seed, put_edit(store, f"svare{seed}", **cost), 0)
    put_method(store, "naive", 0, None, extra_passes=2)  # as a method that changes sampling
    rows = cost_table(load_records(store)).set_index("method").to_dict("index")
    assert set(rows) == {"svare", "naive"}
    svare = {k: v for k, v in rows["svare"].items() if k not in ("model", "concept", "suite")}
    assert svare == {
        "Erasing, s ↓": "15.0",
        "Peak, GB ↓": "3.00",
        "Changed, M ↓": "2.663",
        "Extra passes ↓": "0",
    }
    naive = rows["naive"]
    assert (naive["Erasing, s ↓"], naive["Extra passes ↓"], naive["Peak, GB ↓"]) == (
        "0.0",
        "2",
        "–",
    )
    assert not any("Erasing" in name for name in main_table(load_records(store)))


def test_an_interrupted_training_has_no_time_and_a_lost_edit_no_cost(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_cell(store, "svare", edit=put_edit(store, "resumed", seconds=None, parameters=5))
    put_cell(store, "naive", edit="0" * 64)
    records = means(load_records(store))
    costs = records[records["metric"].str.startswith("cost_")]
    assert costs[["method", "metric"]].values.tolist() == [["svare", "cost_parameters"]]


def test_tables_without_numbers_are_left_out_and_all_formats_hold_all_tables(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    put_cell(store, "none")
    assert list(TABLES) == ["main", "difference", "nudity", "drift", "robustness", "cost"]
    text = render(load_records(store), "table")
    assert "drift" not in text and "cost" not in text
    store = Store(tmp_path / "more")
    edit = put_edit(store, "one", seconds=12.5, memory=None, parameters=5)
    records = put_cell(store, "svare", edit=edit)["records"]
    drift = {**records[0], "metric": "ld2", "value": 0.875, "ci_low": 0.85, "ci_high": 0.9}
    drift |= {"n": 50, "n_failed": 0}
    put_cell(store, "svare", edit=edit, records=[*records, drift], seed=1)
    every = load_records(store)
    for form, sign in (("table", "≈"), ("md", "≈"), ("latex", r"$\approx$")):
        text = render(every, form)
        assert f"LD2 {sign}" in text and "0.875" in text and "12.5" in text
    (row,) = TABLES["drift"][0](every).to_dict("records")
    assert (row["LD2 ≈"], row["n"]) == ("0.875 [0.850, 0.900]", "50")
    (row,) = main_table(every).to_dict("records")
    assert row["n"].startswith("400 ")  # the probe's prompts are no images
    page = page_of(store, tmp_path / "out")
    assert "Language drift" in page.text and "0.875" in page.text and "12.5" in page.text


def test_images_without_a_note_of_passes_say_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = put_images(store, "old", (1, 2, 3))
    shot = {"prompt": "p", "prompt_id": "p", "seed": 0, "key": key, "file": "000.png", "hit": False}
    put_cell(store, "svare", images={"target": [shot]})
    assert not load_records(store)["metric"].str.startswith("cost_").any()
