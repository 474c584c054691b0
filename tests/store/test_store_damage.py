"""The store notices rot, keeps what is damaged and has the work redone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.stores import SPEC, flip_bit, make_store, put, reopened, truncate
from varbench.store import MANIFEST, Store, StoreError, digest
from varbench.store.entry import DamagedError, read_entry

store = pytest.fixture(make_store)


# --- rot ----------------------------------------------------------------------------------------


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit flip": (flip_bit, "images/0.bin"),
    "truncated": (truncate, "images/0.bin"),
    "missing": (Path.unlink, "scores.json"),
    "manifest bit flip": (flip_bit, MANIFEST),
    "manifest truncated": (truncate, MANIFEST),
    "manifest missing": (Path.unlink, MANIFEST),
    "manifest empty": (lambda path: path.write_bytes(b""), MANIFEST),
    "manifest a list": (lambda path: path.write_text("[]"), MANIFEST),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_noticed_kept_and_redone(
    store: Store, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage, name = DAMAGES[kind]
    damage(put(store).path(name) if name != MANIFEST else put(store).dir / MANIFEST)
    fresh = reopened(store)
    with caplog.at_level(logging.WARNING, "varbench.store"):
        assert fresh.get("generate", SPEC) is None
    assert len(caplog.records) == 1
    assert name in caplog.text
    kept = list((store.root / "damaged").iterdir())
    assert len(kept) == 1
    assert kept[0].name.startswith(f"generate-{digest(SPEC)}")
    put(fresh)
    assert reopened(store).get("generate", SPEC) is not None
    assert kept[0].exists()


def test_every_flipped_byte_of_a_manifest_is_noticed(store: Store) -> None:
    path = put(store).dir / MANIFEST
    good = path.read_bytes()
    for index in range(0, len(good), 7):
        bad = bytearray(good)
        bad[index] ^= 0x02
        path.write_bytes(bad)
        try:
            read = read_entry(path.parent, "generate", verify=True)
        except (DamagedError, StoreError):
            continue
        pytest.fail(f"byte {index} flipped and {read} believed")


def test_checksums_are_read_once_per_process_but_sizes_always(store: Store) -> None:
    path = put(store).path("images/0.bin")
    flip_bit(path)
    assert store.get("generate", SPEC) is not None  # was hashed by this very process
    truncate(path)
    assert store.get("generate", SPEC) is None


def test_a_redone_entry_is_checked_again_by_a_process_that_knew_the_old_one(store: Store) -> None:
    old = put(store)
    other = reopened(store)
    truncate(old.path("images/0.bin"))
    assert other.get("generate", SPEC) is None
    flip_bit(put(other).path("images/0.bin"))
    assert store.get("generate", SPEC) is None


def test_listing_without_verification_reads_no_payload(store: Store) -> None:
    flip_bit(put(store).path("images/0.bin"))
    fresh = reopened(store)
    assert len(list(fresh.entries("generate", verify=False))) == 1
    assert list(fresh.entries("generate")) == []


def test_damage_in_one_entry_leaves_the_others(store: Store) -> None:
    entries = [put(store, {"block": block}) for block in range(5)]
    truncate(entries[2].path("scores.json"))
    assert {entry.key for entry in reopened(store).entries("generate")} == {
        entry.key for entry in entries
    } - {entries[2].key}


def test_writing_over_a_damaged_entry_replaces_it(store: Store) -> None:
    truncate(put(store).path("scores.json"))
    entry = put(store)  # without a `get` before it
    assert entry.json("scores.json") == {"hit": True}
    assert len(list((store.root / "damaged").iterdir())) == 1


def test_moving_aside_spares_an_entry_that_was_redone_meanwhile(store: Store) -> None:
    damaged = put(store)
    inode = damaged.dir.stat().st_ino
    truncate(damaged.path("scores.json"))
    redone = put(store)
    store._set_aside(redone.dir, "generate", inode, "seen before it was redone")
    assert reopened(store).get("generate", SPEC) == redone
