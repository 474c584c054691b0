"""`varbench fetch`: checked, resumed, whole or not at all; licence first; files taken by --from."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.helpers.published import DATA, Web, entry, serving
from varbench.cli import app
from varbench.data.published import catalog as tables
from varbench.data.published.catalog import PromptSetAsset, known
from varbench.data.published.data_folder import load, local_path, receipt, verify
from varbench.data.published.download import FetchError
from varbench.data.published.fetch import fetch
from varbench.errors import UserError

UNPINNED = {"sha256": None, "revision": None}


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as shown:
        yield shown


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".some-set.lock"}


# --- downloads


def test_a_file_is_fetched_once_with_its_receipt(web: Web, tmp_path: Path) -> None:
    asset = entry(place=web.address)
    assert verify(asset, tmp_path) == "missing"
    assert fetch(asset, tmp_path).startswith("4 rows, 3 distinct prompts")
    assert local_path(asset, tmp_path).read_bytes() == DATA and verify(asset, tmp_path) is None
    kept = receipt(asset, tmp_path)
    assert kept["origin"] == web.address and kept["revision"] == "c0ffee"
    assert (kept["sha256"], kept["rows"], kept["prompts"]) == (asset.sha256, 4, 3)
    assert left(tmp_path) == {"some-set.csv", "some-set.receipt.json"}
    assert fetch(asset, tmp_path) == "already here" and len(web.ranges) == 1
    assert len(load(asset, tmp_path).prompts) == 3


def test_a_broken_download_resumes(web: Web, tmp_path: Path) -> None:
    asset = entry(place=web.address)
    web.breaks_after = 20
    with pytest.raises(FetchError, match=f"after 20 of {len(DATA)} bytes.*same command again"):
        fetch(asset, tmp_path)
    assert left(tmp_path) == {"some-set.part"} and verify(asset, tmp_path) == "missing"
    web.breaks_after = None
    fetch(asset, tmp_path)
    assert web.ranges == ["", "bytes=20-"] and local_path(asset, tmp_path).read_bytes() == DATA


def test_a_server_without_ranges_starts_over(web: Web, tmp_path: Path) -> None:
    asset = entry(place=web.address)
    (tmp_path / "some-set.part").write_bytes(DATA[:20])
    web.takes_ranges = False
    fetch(asset, tmp_path)
    assert local_path(asset, tmp_path).read_bytes() == DATA


def test_a_part_that_is_whole_already_is_taken(web: Web, tmp_path: Path) -> None:
    asset = entry(place=web.address)
    (tmp_path / "some-set.part").write_bytes(DATA)
    fetch(asset, tmp_path)
    assert local_path(asset, tmp_path).read_bytes() == DATA


def test_a_part_of_something_that_may_have_changed_is_not_gone_on_with(
    web: Web, tmp_path: Path
) -> None:
    asset = entry(place=web.address, **UNPINNED)
    (tmp_path / "some-set.part").write_bytes(b"prompt,of,another,version\n")
    fetch(asset, tmp_path)
    assert web.ranges == [""] and local_path(asset, tmp_path).read_bytes() == DATA


def test_other_bytes_are_not_taken_and_the_next_try_starts_anew(web: Web, tmp_path: Path) -> None:
    asset = entry(place=web.address)
    (tmp_path / "some-set.part").write_bytes(b"x" * 20)
    with pytest.raises(FetchError, match="another version or a damaged copy"):
        fetch(asset, tmp_path)
    assert left(tmp_path) == set()
    fetch(asset, tmp_path)
    assert verify(asset, tmp_path) is None


def test_an_unpinned_file_that_is_no_prompt_set_is_not_taken(web: Web, tmp_path: Path) -> None:
    web.data = b"<!DOCTYPE html>\n<p>Please log in</p>\n"
    with pytest.raises(UserError, match=r"^some-set\.csv:1: 0 columns 'prompt'"):
        fetch(entry(place=web.address, **UNPINNED), tmp_path)
    assert left(tmp_path) == set()


@pytest.mark.parametrize("pinned", [True, False])
def test_a_half_written_or_edited_file_is_never_read(
    pinned: bool, web: Web, tmp_path: Path
) -> None:
    asset = entry(place=web.address, **({} if pinned else UNPINNED))
    path = local_path(asset, tmp_path)
    path.write_bytes(DATA)  # put there by hand: whole, but nothing says so where it is unpinned
    assert (verify(asset, tmp_path) is None) == pinned
    fetch(asset, tmp_path)
    for damaged in (DATA[:-5], DATA.replace(b"red", b"tan")):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="run `varbench fetch some-set`"):
            load(asset, tmp_path)
        fetch(asset, tmp_path)
        assert load(asset, tmp_path).prompts[0].text == "a red car"


def test_no_connection_is_an_error_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="varbench fetch some-set --from FOLDER"):
        fetch(entry(), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match="name another folder with --data"):
        fetch(entry(), tmp_path / "file" / "below")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(
    step: str, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    asset = entry(place=web.address)
    monkeypatch.setattr(os, step, full)
    with pytest.raises(FetchError, match=r"No space left.*--data"):
        fetch(asset, tmp_path)
    assert left(tmp_path) == set()


# --- files at hand


def test_a_pinned_file_is_known_by_its_bytes_whatever_it_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "downloads" / "deep"
    folder.mkdir(parents=True)
    (folder / "some.csv").write_bytes(DATA[:-1])
    (folder / "copy (2).csv").write_bytes(DATA)
    fetch(entry(), tmp_path / "data", tmp_path / "downloads")
    assert verify(entry(), tmp_path / "data") is None
    (folder / "copy (2).csv").unlink()
    with pytest.raises(FetchError, match=r"no [*].csv file .* has the checksum"):
        fetch(entry(), tmp_path / "other", tmp_path / "downloads")
    with pytest.raises(FetchError, match="another version"):
        fetch(entry(), tmp_path / "other", folder / "some.csv")


def test_an_unpinned_file_is_known_by_its_name(tmp_path: Path) -> None:
    asset, folder = entry(**UNPINNED), tmp_path / "downloads"
    folder.mkdir()
    with pytest.raises(FetchError, match=r"0 files in .* are called some-set.csv or some.csv"):
        fetch(asset, tmp_path / "data", folder)
    (folder / "some.csv").write_bytes(DATA)
    fetch(asset, tmp_path / "data", folder)
    assert receipt(asset, tmp_path / "data")["origin"] == str(folder / "some.csv")
    (folder / "some-set.csv").write_bytes(DATA)
    with pytest.raises(FetchError, match="--from FILE"):
        fetch(asset, tmp_path / "data", folder)
    fetch(asset, tmp_path / "data", folder / "some.csv")
    with pytest.raises(FetchError, match="there is no folder"):
        fetch(asset, tmp_path / "data", tmp_path / "none")


def statistics(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def test_reference_statistics_are_made_by_hand_and_checked(tmp_path: Path) -> None:
    asset = known()["coco-30k-statistics"]
    with pytest.raises(FetchError, match=r"make_custom_stats\(.*--from"):
        fetch(asset, tmp_path / "data")
    file = tmp_path / asset.file
    file.write_bytes(statistics(mu=np.zeros(8), sigma=np.eye(8)))
    assert fetch(asset, tmp_path / "data", tmp_path) == "mean and covariance of 8 features"
    assert verify(asset, tmp_path / "data") is None
    for bad in (
        statistics(mu=np.zeros(8), sigma=np.eye(7)),
        statistics(mu=np.zeros(8), sigma=np.full((8, 8), np.nan)),
        statistics(mean=np.zeros(8)),
        b"PK\x03\x04 broken",
        DATA,
    ):
        file.write_bytes(bad)
        with pytest.raises(FetchError, match=asset.name):
            fetch(asset, tmp_path / "other", tmp_path)


# --- the command


@pytest.fixture
def one_set(web: Web, monkeypatch: pytest.MonkeyPatch) -> PromptSetAsset:
    """The table has one set, on the server of this machine."""
    one = entry(place=web.address, gated="Ask nicely.")
    monkeypatch.setattr(tables, "known", lambda: {one.name: one})
    return one


def call(*args: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    return done.exit_code, done.stdout, done.stderr


def test_the_licence_is_shown_before_anything_is_fetched(
    one_set: PromptSetAsset, web: Web, tmp_path: Path
) -> None:
    code, out, shown = call("fetch", one_set.name, "--data", tmp_path)
    assert code == 0 and "4 rows, 3 distinct prompts" in out
    assert "licence: MIT" in shown and "access: Ask nicely." in shown and web.address in shown
    web.data = b""
    other = tmp_path / "other"
    code, _, shown = call("fetch", one_set.name, "--data", other)
    assert code == 2 and shown.index("licence: MIT") < shown.index("error: ")


def test_the_list_says_what_is_here(tmp_path: Path, web: Web) -> None:
    code, out, _ = call("fetch", "--data", tmp_path)
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert code == 0 and lines["i2p"].split()[1:3] == ["4703", "4467"]
    assert lines["i2p"].endswith("missing") and "ask for access" in lines["mma-diffusion"]
    assert "by hand" in lines["coco-30k-statistics"] and str(tmp_path) in out
    assert not web.ranges
    code, _, shown = call("fetch", "i2", "--data", tmp_path)
    assert code == 2 and "did you mean 'i2p'?" in shown


def test_list_prompts_has_own_and_published_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARBENCH_DATA", str(tmp_path))
    asset = known()["ring-a-bell-nudity"]
    file = tmp_path / "downloads.csv"
    file.write_text("prompt\na gibberish\nb gibberish\n")
    fetch(asset, tmp_path, file)
    code, out, _ = call("list", "prompts")
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert code == 0 and lines["people"] == ["people", "288", "Apache-2.0", "here"]
    assert lines["i2p"] == ["i2p", "4467", "MIT", "missing"]
    assert lines[asset.name][1] == "2" and lines[asset.name][-1] == "here"
    assert "coco-30k-statistics" not in lines
    local_path(asset).write_text("prompt\na gibberish\n")
    assert "its checksum is" in call("list", "prompts")[1]


def test_receipts_are_readable(web: Web, tmp_path: Path) -> None:
    asset = entry(place=web.address)
    fetch(asset, tmp_path)
    kept = json.loads((tmp_path / "some-set.receipt.json").read_text())
    assert kept["name"] == "some-set" and kept["licence"] == "MIT" and kept["bytes"] == len(DATA)
    (tmp_path / "some-set.receipt.json").write_text("{")
    assert receipt(asset, tmp_path) == {}
