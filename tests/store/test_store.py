"""The store gives back what was put into it, under a key that never changes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.stores import SPEC, leftovers, make_store, put, reopened
from varbench.store import MANIFEST, Store, digest
from varbench.store.hashing import canonical_json, file_sha256

store = pytest.fixture(make_store)


# --- writing and reading ------------------------------------------------------------------------


def test_round_trip(store: Store) -> None:
    assert store.get("generate", SPEC) is None
    written = put(store)
    entry = reopened(store).get("generate", SPEC)
    assert entry == written
    assert entry is not None
    assert entry.key == digest(SPEC)
    assert entry.dir == store.root / "generate" / entry.key[:2] / entry.key
    assert entry.spec == SPEC
    assert entry.meta == {"seconds": 1.5}
    assert entry.json("scores.json") == {"hit": True}
    image = entry.path("images/0.bin")
    assert entry.files["images/0.bin"].sha256 == file_sha256(image)
    assert entry.files["images/0.bin"].size == 600
    assert leftovers(store) == []


def test_unknown_file_lists_the_known_ones(store: Store) -> None:
    with pytest.raises(KeyError, match=r"scores\.json"):
        put(store).path("nope.json")


def test_other_spec_and_other_stage_are_other_entries(store: Store) -> None:
    put(store)
    assert store.get("generate", {**SPEC, "block": 4}) is None
    assert store.get("score", SPEC) is None


def test_entries_come_in_order_of_key_and_find_works_by_key(store: Store) -> None:
    assert list(store.entries("generate")) == []
    made = {put(store, {"block": block}).key for block in range(8)}
    assert [entry.key for entry in store.entries("generate")] == sorted(made)
    assert all(store.find("generate", key) for key in made)


def test_exception_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.write("generate", SPEC) as writer:
        (writer.dir / "half").write_bytes(b"x" * (1 // 0))
    assert store.get("generate", SPEC) is None
    assert leftovers(store) == []
    put(store)


def test_body_may_change_its_own_spec(store: Store) -> None:
    spec = {"block": 1}
    with store.write("generate", spec):
        spec["block"] = 2
    assert reopened(store).get("generate", {"block": 1}) is not None
    assert store.get("generate", spec) is None


def test_store_survives_pickling_and_chdir(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Store(Path("runs"))
    put(store)
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(relative)).get("generate", SPEC) is not None


@pytest.mark.parametrize("stage", ["tmp", "damaged", "locks", "../x", "", "A b"])
def test_bad_stage_names_are_refused(store: Store, stage: str) -> None:
    with pytest.raises(ValueError, match="stage"):
        store.get(stage, SPEC)


def test_bad_keys_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="64"):
        store.find("generate", "../../etc")


def test_links_and_a_foreign_manifest_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="links"), store.write("generate", SPEC) as writer:
        (writer.dir / "link").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="links"), store.write("generate", SPEC) as writer:
        (writer.dir / MANIFEST).write_text("{}")
    assert store.get("generate", SPEC) is None


# --- canonical JSON -----------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return tuple(reversed_keys(item) for item in value)
    return value


@given(JSON)
def test_canonical_json_ignores_key_order_and_tuples_and_round_trips(value: Any) -> None:
    text = canonical_json(value)
    assert canonical_json(reversed_keys(value)) == text
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


def test_digest_is_pinned() -> None:
    """A change here would orphan every store in the world."""
    assert canonical_json({"b": (1, 2.5, None), "a": "é"}) == b'{"a":"\\u00e9","b":[1,2.5,null]}'
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    ("value", "error", "place"),
    [
        ({"a": [0.0, float("nan")]}, ValueError, r"\$\.a\[1\]"),
        ({"a": float("inf")}, ValueError, r"\$\.a"),
        ({"a": {1: "x"}}, TypeError, r"\$\.a: key 1"),
        ({"path": Path("x")}, TypeError, r"\$\.path"),
        ({"a": {1, 2}}, TypeError, r"\$\.a: set"),
    ],
)
def test_what_is_not_json_is_refused_by_place(
    store: Store, value: dict[str, Any], error: type[Exception], place: str
) -> None:
    with pytest.raises(error, match=place):
        canonical_json(value)
    with pytest.raises(error, match=place), store.write("generate", value):
        pytest.fail("work was done for a spec that cannot be stored")
