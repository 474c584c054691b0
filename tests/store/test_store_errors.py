"""The store fails with errors that name the fix: full disks, permissions, newer schemas."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tests.helpers.stores import SPEC, leftovers, make_store, put, reopened, truncate
from varbench.store import MANIFEST, Store, StoreError
from varbench.store import entry as entry_module

store = pytest.fixture(make_store)


# --- errors that name the fix -------------------------------------------------------------------


def test_newer_schema_is_neither_used_nor_moved(store: Store) -> None:
    path = put(store).dir / MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "schema": 99, "files": "another form"}))
    for read in (lambda: store.get("generate", SPEC), lambda: list(store.entries("generate"))):
        with pytest.raises(StoreError, match=r"newer varbench.*upgrade or use another --store"):
            read()
    assert path.exists()


def test_root_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file"):
        Store(tmp_path / "file")
    with pytest.raises(StoreError, match="another --store"):
        put(Store(tmp_path / "file" / "below"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_disk_full_in_the_body(store: Store) -> None:
    with (
        pytest.raises(StoreError, match=r"disk full.*--store.*finished work is kept"),
        store.write("generate", SPEC) as writer,
    ):
        Path("/dev/full").write_bytes((writer.dir.name).encode())
    assert leftovers(store) == []
    put(store)


def test_disk_full_while_flushing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="disk full"):
            put(store)
    assert store.get("generate", SPEC) is None
    assert leftovers(store) == []
    put(store)


def test_an_oserror_of_the_body_is_not_blamed_on_the_store(store: Store) -> None:
    with pytest.raises(FileNotFoundError), store.write("generate", SPEC):
        Path("/nonexistent/prompts.csv").read_text()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_root(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    truncate(put(store, {"block": 1}).path("scores.json"))
    put(store)
    folders = [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        fresh = reopened(store)
        assert fresh.get("generate", SPEC) is not None
        assert fresh.get("generate", {"block": 1}) is None  # damaged, cannot be moved
        assert "could not be moved" in caplog.text
        with pytest.raises(StoreError, match="no permission"):
            put(fresh, {"block": 2})
        with pytest.raises(StoreError, match="no permission"), fresh.lock("score", SPEC):
            pass
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_no_permission_to_write_or_move(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A read-only root, also where the tests run as root."""
    truncate(put(store).path("scores.json"))

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert reopened(store).get("generate", SPEC) is None
    assert "could not be moved" in caplog.text
    with pytest.raises(StoreError, match="no permission"), store.write("generate", {"block": 2}):
        pytest.fail("work was done that cannot be stored")


def test_unreadable_for_this_user_is_not_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = put(store)

    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(entry_module, "file_sha256", refuse)
    with pytest.raises(StoreError, match="no permission"):
        reopened(store).get("generate", SPEC)
    assert entry.dir.exists()
