"""Network files of metrics: where they are found, what they must be, and how they are fetched."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tracemalloc
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.helpers.published import Web, serving
from varbench.cli import app
from varbench.data.published import catalog
from varbench.data.published.catalog import Network
from varbench.data.published.data_folder import (
    MissingNetworkError,
    local_path,
    locate,
    network_checksum,
    network_path,
    receipt,
)
from varbench.data.published.download import FetchError
from varbench.data.published.fetch import fetch
from varbench.errors import UserError

WEIGHTS = bytes(range(256)) * 40
SHA = hashlib.sha256(WEIGHTS).hexdigest()
UNPINNED = {"sha256": None, "size": None}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing was ever fetched; its home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VARBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    return tmp_path


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as shown:
        shown.data = WEIGHTS
        yield shown


def network(**changes: object) -> Network:
    """A pinned network at an address that answers nothing, with WEIGHTS in its file."""
    network_file = Network(
        name="some-net",
        about="A network.",
        purpose="looking",
        cite="Nobody 2026",
        host="url",
        place="http://127.0.0.1:9/some.pth",
        file="some.pth",
        size=len(WEIGHTS),
        sha256=SHA,
        licence="MIT",
        kept_by=("torch", "clip"),
    )
    return dataclasses.replace(network_file, **changes)  # type: ignore[arg-type]


@pytest.fixture
def only(web: Web, monkeypatch: pytest.MonkeyPatch) -> Network:
    """The table has one network, on the server of this machine."""
    one = network(place=web.address)
    monkeypatch.setattr(catalog, "networks", lambda: {one.name: one})
    return one


def put(path: Path, data: bytes = WEIGHTS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def left(folder: Path) -> set[str]:
    """Files in the data folder, locks aside."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix != ".lock"} - {
        "networks"
    }


# --- the table


def test_checksums_agree_with_what_names_and_addresses_carry() -> None:
    """OpenAI's addresses have the SHA-256 in them, torchvision's file names its first digits."""
    seen = 0
    for asset in catalog.networks().values():
        assert asset.sha256 is not None and re.fullmatch("[0-9a-f]{64}", asset.sha256)
        assert asset.licence and asset.cite and asset.purpose and (asset.size or 0) > 10**6
        if "openaipublic" in asset.place:
            assert asset.place.split("/")[-2:] == [asset.sha256, asset.file]
            seen += 1
        if "download.pytorch.org" in asset.place:
            assert asset.place.endswith(f"/{asset.file}")
            assert asset.file.endswith(f"-{asset.sha256[:8]}.pth")
            seen += 1
    assert seen == 5
    assert not set(catalog.networks()) & set(catalog.known()), "`fetch` goes by one name"


def test_the_packaged_network_is_the_listed_one() -> None:
    path = network_path("nudenet-320n")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == network_checksum("nudenet-320n")
    assert path.stat().st_size == catalog.networks()["nudenet-320n"].size


@pytest.mark.parametrize("name", [n for n in catalog.networks() if n != "nudenet-320n"])
def test_a_missing_file_is_named_with_size_licence_places_and_fix(name: str, machine: Path) -> None:
    asset = catalog.networks()[name]
    if locate(asset)[0] is not None:
        pytest.skip(f"{name} is on this machine, outside the home folder")
    with pytest.raises(MissingNetworkError) as told:
        network_checksum(name)
    text = str(told.value)
    assert asset.licence in text and asset.size_text in text and Path(asset.file).name in text
    assert f"{machine / 'data' / 'networks' / Path(asset.file).name}: missing" in text
    assert f"run `{asset.command}`, or `varbench fetch {name} --from DIR`" in text
    if "torch" in asset.kept_by:
        assert str(machine / "cache" / "torch" / "hub" / "checkpoints" / asset.file) in text
    if "clip" in asset.kept_by:
        assert str(machine / ".cache" / "clip" / asset.file) in text
    if asset.host == "package":
        assert "not installed" in text and "pip install" in text


def test_an_unknown_name_is_corrected() -> None:
    with pytest.raises(UserError, match="did you mean 'clip-vit-l-14'"):
        network_path("clip-vit-l14")


# --- where files are found


def test_a_librarys_copy_is_used_where_it_is_the_same_file(
    only: Network, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(machine / "torch"))
    other = put(machine / "torch" / "hub" / "checkpoints" / "some.pth", WEIGHTS[:-1])
    with pytest.raises(MissingNetworkError, match=f"{other}: its checksum is .*, not {SHA[:16]}"):
        network_path("some-net")
    clip = put(machine / ".cache" / "clip" / "some.pth")
    assert network_path("some-net") == clip and network_checksum("some-net") == SHA
    put(other)
    assert network_path("some-net") == other
    own = put(machine / "data" / "networks" / "some.pth")
    assert network_path("some-net") == own, "what was fetched comes first"
    put(own, b"half")
    assert network_path("some-net") == other, "a damaged file is passed over"
    assert fetch(only, machine / "data") == "already here"


def test_of_an_unpinned_network_a_receipt_vouches_for_the_fetched_file(
    web: Web, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = network(place=web.address, **UNPINNED)
    monkeypatch.setattr(catalog, "networks", lambda: {asset.name: asset})
    fetched = put(machine / "data" / "networks" / "some.pth")
    with pytest.raises(MissingNetworkError, match="no receipt"):
        network_path("some-net")
    fetch(asset, machine / "data")
    assert network_path("some-net") == fetched and network_checksum("some-net") == SHA
    put(fetched, WEIGHTS[::-1])
    with pytest.raises(MissingNetworkError, match="its checksum is"):
        network_path("some-net")


# --- fetching


def test_a_network_is_fetched_once_with_its_receipt(only: Network, web: Web, machine: Path) -> None:
    folder = machine / "data"
    assert fetch(only, folder) == only.size_text
    assert network_path("some-net").read_bytes() == WEIGHTS
    kept = receipt(only, folder)
    assert (kept["sha256"], kept["bytes"], kept["licence"]) == (SHA, len(WEIGHTS), "MIT")
    assert left(folder) == {"networks/some.pth", "some-net.receipt.json"}
    assert fetch(only, folder) == "already here" and len(web.ranges) == 1


def test_a_broken_download_leaves_no_network_and_resumes(
    only: Network, web: Web, machine: Path
) -> None:
    web.breaks_after = 1000
    with pytest.raises(FetchError, match=f"after 1000 of {len(WEIGHTS)} bytes.*same command"):
        fetch(only, machine / "data")
    assert left(machine / "data") == {"networks/some-net.part"} and locate(only)[0] is None
    web.breaks_after = 500
    with pytest.raises(FetchError, match=f"after 1500 of {len(WEIGHTS)} bytes"):
        fetch(only, machine / "data")
    web.breaks_after = None
    fetch(only, machine / "data")
    assert web.ranges == ["", "bytes=1000-", "bytes=1500-"]
    assert network_path("some-net").read_bytes() == WEIGHTS


def test_other_bytes_are_refused_and_the_next_try_starts_anew(
    only: Network, web: Web, machine: Path
) -> None:
    web.data = b"<html>log in</html>"
    with pytest.raises(FetchError, match="another version or a damaged copy"):
        fetch(only, machine / "data")
    assert left(machine / "data") == set()
    web.data = WEIGHTS
    fetch(only, machine / "data")
    assert web.ranges == ["", ""] and network_path("some-net").is_file()


def test_a_large_file_is_never_in_memory_as_a_whole(web: Web, machine: Path) -> None:
    web.data = b"\xa5" * (1 << 25)
    asset = network(place=web.address, size=1 << 25, sha256=hashlib.sha256(web.data).hexdigest())
    copy = put(machine / "downloads" / "x.pth", web.data)
    tracemalloc.start()
    try:
        fetch(asset, machine / "data", copy)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 22
    local_path(asset, machine / "data").unlink()
    fetch(asset, machine / "data")
    assert local_path(asset, machine / "data").stat().st_size == 1 << 25


def test_a_full_disk_is_reported_before_the_download(
    only: Network, web: Web, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**6, 10**6 - 100, 100))
    with pytest.raises(FetchError, match=r"needs 0.0 MB; make room.*--data"):
        fetch(only, machine / "data")
    assert web.ranges == []


def test_a_copy_at_hand_is_known_by_its_bytes(machine: Path) -> None:
    asset, folder = network(), machine / "downloads"
    put(folder / "a.pth", WEIGHTS[::-1])
    with pytest.raises(FetchError, match=r"no \*.pth file .* `varbench fetch some-net` brings it"):
        fetch(asset, machine / "data", folder)
    put(folder / "deep" / "renamed (1).pth")
    fetch(asset, machine / "data", folder)
    assert local_path(asset, machine / "data").read_bytes() == WEIGHTS
    assert (folder / "deep" / "renamed (1).pth").is_file(), "a copy is taken"
    with pytest.raises(FetchError, match="another version"):
        fetch(asset, machine / "else", folder / "a.pth")
    packaged = network(host="package", place="no_such_package", kept_by=())
    fetch(packaged, machine / "third", folder)
    assert locate(packaged, machine / "third")[0] == machine / "third" / "networks" / "some.pth"
    with pytest.raises(FetchError, match="run `pip install no_such_package`"):
        fetch(packaged, machine / "fourth")


# --- the commands


def call(*args: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(args))
    return done.exit_code, done.stdout, done.stderr


def test_fetch_shows_licence_and_size_first(only: Network, web: Web) -> None:
    code, out, shown = call("fetch", "some-net")
    assert code == 0 and out.startswith("some-net: 0.0 MB: ") and "networks/some.pth" in out
    assert "licence: MIT" in shown and "size: 0.0 MB" in shown and "checked by: checksum" in shown
    web.data = b""
    network_path("some-net").unlink()
    code, _, shown = call("fetch", "some-net")
    assert code == 2 and shown.index("licence: MIT") < shown.index("error: ")


def test_weights_are_listed_with_what_is_here(machine: Path) -> None:
    code, out, _ = call("list", "weights")
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert code == 0 and set(catalog.networks()) <= set(lines)
    assert "MIT" in lines["clip-vit-l-14"] and lines["clip-vit-l-14"].endswith("missing")
    assert lines["nudenet-320n"].endswith("320n.onnx")
    assert "missing" in lines["google/flan-t5-xl@main"] and "infinity-2b" in out
    damaged = put(machine / ".cache" / "clip" / "ViT-B-32.pt", b"half")
    _, out, _ = call("fetch")
    assert f"{damaged}: its checksum is" in out and "i2p" in out
