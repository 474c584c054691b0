"""Files of a store that varbench did not write: no path outside, one error, no traceback."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.cli import varbench
from tests.helpers.stores import SPEC, make_store, put
from varbench.store import MANIFEST, Store, StoreError
from varbench.store.entry import DamagedError, read_entry
from varbench.store.hashing import parsed_digest

store = pytest.fixture(make_store)


def renamed(store: Store, name: str, new: str) -> Path:
    """An entry whose manifest gives a file another name, with the checksum that fits."""
    folder = put(store).dir
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][new] = manifest["files"].pop(name)
    del manifest["digest"]
    text = json.dumps(manifest | {"digest": parsed_digest(manifest)})
    (folder / MANIFEST).write_text(text)
    return folder


@pytest.mark.parametrize("new", ["../../../../secret", "{root}/secret", "images/../../secret"])
def test_a_manifest_cannot_name_files_elsewhere(store: Store, tmp_path: Path, new: str) -> None:
    secret = (store.root / "secret", tmp_path / "secret")
    folder = renamed(store, "scores.json", new.format(root=store.root))
    for path in secret:
        path.write_text('{"hit": true}')
    with pytest.raises(DamagedError, match="no file of the entry"):
        read_entry(folder, "generate", verify=False)
    assert store.get("generate", SPEC) is None and list(store.entries("generate")) == []


@pytest.mark.parametrize("name", ["scores.json", "images"])
def test_an_entry_cannot_hold_links(store: Store, tmp_path: Path, name: str) -> None:
    path = put(store).dir / name
    moved = tmp_path / "elsewhere"
    shutil.move(path, moved)
    path.symlink_to(moved)
    assert Store(store.root).get("generate", SPEC) is None


def crafted_arrays() -> dict[str, bytes]:
    """Files that numpy meets with errors of many kinds."""
    whole = io.BytesIO()
    np.savez(whole, a=np.zeros(3))
    deep = io.BytesIO()
    with zipfile.ZipFile(deep, "w") as archive:
        head = b"{'descr': " + b"(" * 900 + b")" * 900 + b", 'shape': (3,)}"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    pickled = io.BytesIO()
    np.savez(pickled, a=np.array([{}], object))
    return {
        "empty": b"", "text": b"no archive", "cut": whole.getvalue()[:-30],
        "header": deep.getvalue(), "objects": pickled.getvalue(),
    }  # fmt: skip


@pytest.mark.parametrize("kind", crafted_arrays())
def test_crafted_arrays_are_one_error(store: Store, kind: str) -> None:
    with store.write("scores", SPEC) as writer:
        (writer.dir / "scores.npz").write_bytes(crafted_arrays()[kind])
    assert writer.entry is not None
    with pytest.raises(StoreError, match=r"scores.npz: was not written by varbench"):
        writer.entry.arrays("scores.npz")


def test_deep_nesting_is_one_error(store: Store) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with store.write("cell", SPEC) as writer:
        (writer.dir / "cell.json").write_text(deep)
    assert writer.entry is not None
    with pytest.raises(StoreError, match=r"cell.json: was not written by varbench"):
        writer.entry.json("cell.json")
    shown = varbench("report", "--store", store.root)
    assert shown.exit_code == 2 and "Traceback" not in shown.output
    (writer.entry.dir / MANIFEST).write_text(deep)
    assert Store(store.root).get("cell", SPEC) is None
    assert varbench("status", "--store", store.root).exit_code == 0


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("pictures", "target", 0, "file"), "../../x.png"), (("pictures", "target", 0), None),
        (("pictures",), "x"), (("records", 0, "value"), "1"), (("records", 0, "metric"), [1]),
        (("records", 0, "difference"), 5), (("inputs",), [1]),
        (("seed",), {}), (("resolved_config", "model"), "x"), ((), [1]),
    ],
)  # fmt: skip
def test_a_cell_that_varbench_did_not_write_is_one_error(
    small_store: Path, tmp_path: Path, place: tuple[str | int, ...], value: Any
) -> None:
    store = Store(shutil.copytree(small_store, tmp_path / "store"))
    entry = next(store.entries("cell"))
    body = [entry.json("cell.json")]
    within: Any = body
    *path, last = 0, *place
    for key in path:
        within = within[key]
    within[last] = value
    rows = entry.path("rows.npz").read_bytes()
    store.remove(entry)
    with store.write("cell", entry.spec) as writer:
        (writer.dir / "cell.json").write_text(json.dumps(body[0]))
        (writer.dir / "rows.npz").write_bytes(rows)
    done = varbench("report", "--store", store.root, "--out", tmp_path / "out")
    assert done.exit_code == 2 and "not written by varbench" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["../../../out", "/tmp/varbench-out"])
def test_a_cell_names_no_figure_outside_the_folder(
    small_store: Path, tmp_path: Path, name: str
) -> None:
    store = Store(shutil.copytree(small_store, tmp_path / "a" / "b" / "store"))
    for entry in list(store.entries("cell")):
        cell = entry.json("cell.json") | {"concept": name}
        rows = entry.path("rows.npz").read_bytes()
        store.remove(entry)
        with store.write("cell", entry.spec) as writer:
            (writer.dir / "cell.json").write_text(json.dumps(cell))
            (writer.dir / "rows.npz").write_bytes(rows)
            writer.meta |= entry.meta
    out = tmp_path / "a" / "b" / "figures"
    done = varbench("figures", "--store", store.root, "--out", out)
    assert done.exit_code == 0, done.output
    assert any(out.iterdir())
    written = {path.parent for path in tmp_path.rglob("*") if path.suffix in {".pdf", ".svg"}}
    assert written == {out}


def test_status_outlives_journals_that_are_no_files(store: Store) -> None:
    (store.root / "runs" / "a.jsonl").mkdir(parents=True)
    os.mkfifo(store.root / "runs" / "b.jsonl")
    assert varbench("status", "--store", store.root).exit_code == 0


def test_a_manifest_of_other_types_is_damage(store: Store) -> None:
    for part in ("meta", "spec"):
        folder = put(store).dir
        manifest = json.loads((folder / MANIFEST).read_bytes()) | {part: [1]}
        del manifest["digest"]
        text = json.dumps(manifest | {"digest": parsed_digest(manifest)})
        (folder / MANIFEST).write_text(text)
        assert Store(store.root).get("generate", SPEC) is None
