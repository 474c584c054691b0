"""Costs of an edit in a report: means over edit seeds, read from the manifests of entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers.report import put_cell, put_edit, put_images, table_text
from varbench.report import load_records
from varbench.store import Store, digest

MB = 1_000_000


def put_method(store: Store, method: str, seed: int, edit: str | None, extra_passes: int) -> None:
    spec = {"pictures": [method, seed]}
    with store.write("pictures", spec) as writer:
        writer.meta["extra_passes"] = extra_passes
    put_cell(store, method, seed=seed, edit=edit, images={"target": [sample(digest(spec))]})


def sample(key: str) -> dict[str, Any]:
    """The first image of an entry, as a cell lists it."""
    place = {"prompt": "p", "prompt_id": "p", "seed": 0, "key": key, "file": "000.png"}
    return place | {"hit": False}


def costs(store: Store) -> list[tuple[str, str]]:
    """Method and metric of the costs of a report, means over edit seeds."""
    means = [record for record in load_records(store) if record.seed is None]
    return [(one.method, one.metric) for one in means if one.metric.startswith("cost_")]


def test_costs_are_means_over_seeds_from_the_manifests(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_cell(store, "none", edit=None)
    for seed, seconds in enumerate((10.0, 20.0)):
        cost = {"seconds": seconds, "memory": 3_000 * MB, "parameters": 2_663_424}
        put_method(store, "svare", seed, put_edit(store, f"svare{seed}", **cost), 0)
    put_method(store, "naive", 0, None, extra_passes=2)  # as a method that changes sampling
    table = table_text(load_records(store), "cost")
    assert set(table) == {"svare", "naive"}
    assert table["svare"] == {
        "Erasing, s ↓": "15.0",
        "Peak, GB ↓": "3.00",
        "Changed, M ↓": "2.663",
        "Extra passes ↓": "0",
    }
    naive = table["naive"]
    assert (naive["Erasing, s ↓"], naive["Extra passes ↓"], naive["Peak, GB ↓"]) == (
        "0.0",
        "2",
        "–",
    )
    assert not any("Erasing" in head for head in table_text(load_records(store))["svare"])


def test_an_interrupted_training_has_no_time_and_a_lost_edit_no_cost(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_cell(store, "svare", edit=put_edit(store, "resumed", seconds=None, parameters=5))
    put_cell(store, "naive", edit="0" * 64)
    assert costs(store) == [("svare", "cost_parameters")]


def test_images_without_a_note_of_passes_say_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = put_images(store, "old", (1, 2, 3))
    put_cell(store, "svare", images={"target": [sample(key)]})
    assert not costs(store)
