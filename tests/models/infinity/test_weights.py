"""Locating weights, their hashes, and the errors when they are missing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.infinity_keys import hollow_shards
from varbench.conf.compose import model_config
from varbench.conf.schema import InfinityModelConfig
from varbench.errors import CheckpointError
from varbench.models import registry
from varbench.models.weights import locate
from varbench.store import hashing

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXT = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, an empty cache of checksums, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "hub"


def released(name: str = "infinity-2b", **changes: Any) -> InfinityModelConfig:
    config = model_config(name)
    assert isinstance(config, InfinityModelConfig)
    return replace(config, **changes)


def fill(folder: Path, names: tuple[str, ...], tag: str = "") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{tag}{name}")


def local_folder(folder: Path) -> InfinityModelConfig:
    config = released(weights=str(folder))
    fill(folder, (config.files.transformer, config.files.tokenizer))
    fill(folder / "flan-t5-xl", TEXT)
    return config


def cached(hub: Path, repository: str, names: tuple[str, ...], commit: str = COMMIT) -> Path:
    """The hub cache's layout: a branch that names a commit, whose files link to blobs."""
    root = hub / f"models--{repository.replace('/', '--')}"
    fill(root / "refs", ("main",))
    (root / "refs" / "main").write_text(commit)
    snapshot = root / "snapshots" / commit
    for name in names:
        blob = root / "blobs" / hashlib.sha256(name.encode()).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_text(name)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blob)
    return snapshot


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_local_folder_laid_out_like_the_hub(tmp_path: Path) -> None:
    config = local_folder(tmp_path / "w")
    model, text = locate.locate(config)
    assert model.path(config.files.transformer).read_text() == "infinity_2b_reg.pth"
    assert text.path("model.safetensors").parent == tmp_path / "w" / "flan-t5-xl"
    assert (model.local, model.missing, text.missing) == (True, (), ())
    actual = registry.provenance(config)
    assert actual["FoundationVision/Infinity"] == {
        "revision": None,
        "commit": None,
        "sha256": {n: sha(n) for n in (config.files.transformer, config.files.tokenizer)},
    }
    assert actual["google/flan-t5-xl"]["sha256"] == {n: sha(n) for n in TEXT}


def test_the_hubs_cache_and_the_commit_it_resolved_to(caches: Path) -> None:
    config = released()
    files = (config.files.transformer, config.files.tokenizer)
    cached(caches, "FoundationVision/Infinity", files)
    cached(caches, "google/flan-t5-xl", TEXT, commit=COMMIT[::-1])
    actual = registry.provenance(config)
    ours, text = actual["FoundationVision/Infinity"], actual["google/flan-t5-xl"]
    assert (ours["revision"], ours["commit"]) == ("main", COMMIT)
    assert ours["sha256"] == {n: sha(n) for n in files}
    assert text["commit"] == COMMIT[::-1]


def test_a_pinned_revision_finds_its_own_snapshot(caches: Path) -> None:
    config = released()
    files = (config.files.transformer, config.files.tokenizer)
    cached(caches, "google/flan-t5-xl", TEXT)
    cached(caches, "FoundationVision/Infinity", files)
    other = cached(caches, "FoundationVision/Infinity", (), commit="f" * 40)
    other.mkdir(parents=True)
    pinned = replace(config, files=replace(config.files, revision=COMMIT))
    assert str(locate.locate(pinned)[0].root).endswith(COMMIT)
    with pytest.raises(CheckpointError, match="infinity_2b_reg"):
        locate.locate(config)  # main is the empty commit now


def test_folder_and_cache_with_the_same_files_share_a_fingerprint(
    caches: Path, tmp_path: Path
) -> None:
    config = local_folder(tmp_path / "w")
    cached(caches, "FoundationVision/Infinity", (config.files.transformer, config.files.tokenizer))
    cached(caches, "google/flan-t5-xl", TEXT)
    ours = registry.fingerprint(config)
    assert ours == registry.fingerprint(replace(config, weights=None))
    shutil.copytree(tmp_path / "w", tmp_path / "moved")
    assert ours == registry.fingerprint(replace(config, weights=str(tmp_path / "moved")))


def test_whatever_changes_an_image_changes_the_fingerprint(tmp_path: Path) -> None:
    config = local_folder(tmp_path / "w")
    observed = {registry.fingerprint(config)}
    sizes = replace(config.transformer, heads=32)
    for change in (
        {"pn": "0.25M"}, {"aspect_ratio": 1.5}, {"precision": "fp32"},
        {"text_precision": "bf16"}, {"transformer": sizes},
    ):  # fmt: skip
        observed.add(registry.fingerprint(replace(config, **change)))
    assert len(observed) == 6
    assert registry.fingerprint(replace(config, aspect_ratio=1.05, chunks=4)) in observed
    for name in (config.files.transformer, config.files.tokenizer, "flan-t5-xl/tokenizer.json"):
        fill(tmp_path / "w", (name,), tag="other ")
        observed.add(registry.fingerprint(config))
    assert len(observed) == 9


def test_missing_files_are_named_with_hub_id_and_folder(tmp_path: Path) -> None:
    config = local_folder(tmp_path / "w")
    (tmp_path / "w" / "infinity_vae_d32reg.pth").unlink()
    (tmp_path / "w" / "flan-t5-xl" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        registry.fingerprint(config)
    message = str(caught.value)
    assert f"looked in {tmp_path / 'w'}" in message
    assert "FoundationVision/Infinity: infinity_vae_d32reg.pth\n" in message
    assert "google/flan-t5-xl: tokenizer.json\n" in message
    assert "model.weights=DIR" in message
    assert "hf download google/flan-t5-xl --revision main" in message
    assert "--local-dir DIR/flan-t5-xl" in message


@pytest.mark.parametrize("name", ["infinity-2b", "infinity-8b"])
def test_offline_with_an_empty_cache(name: str) -> None:
    config = released(name)
    with pytest.raises(CheckpointError) as caught:
        registry.load_model(config, "cpu")
    message = str(caught.value)
    assert "HF_HUB_OFFLINE" in message
    assert f"FoundationVision/Infinity: {config.files.transformer}" in message
    assert "google/flan-t5-xl: config.json, tokenizer.json" in message
    if name == "infinity-8b":
        assert "--include 'infinity_8b_weights/*.safetensors'" in message


def test_what_is_missing_is_announced_and_fetched_and_nothing_else(
    caches: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The hub's client is replaced by one that notes what it is asked for and delivers it."""
    import huggingface_hub

    requests: list[tuple[str, str, list[str]]] = []
    look = huggingface_hub.snapshot_download

    def fetch(repository: str, *, local_files_only: bool, **given: Any) -> str:
        if not local_files_only:
            assert f"fetching {released().files.transformer}" in caplog.text, "said before done"
            assert repository in caplog.text and str(caches) in caplog.text
            requests.append((repository, given["revision"], given["allow_patterns"]))
            names = [p for p in given["allow_patterns"] if "*" not in p]
            cached(caches, repository, tuple(names))
        return look(repository, local_files_only=True, **given)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    config = released()
    cached(caches, "google/flan-t5-xl", TEXT)
    locate.locate(config)
    assert requests == [
        (
            "FoundationVision/Infinity",
            "main",
            [config.files.transformer, config.files.tokenizer],
        )
    ]
    caplog.clear()
    locate.locate(config)
    assert len(requests) == 1, "what is in the cache is not fetched again"
    assert not caplog.text


def test_a_failed_fetch_reports_the_reason_and_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class ConnectError(Exception):
        """As the HTTP library's: derived from nothing that Python knows."""

    look = huggingface_hub.snapshot_download

    def fetch(repository: str, *, local_files_only: bool, **given: Any) -> str:
        if local_files_only:
            return look(repository, local_files_only=True, **given)
        raise ConnectError("line is dead")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(CheckpointError, match=r"(?s)line is dead.*infinity_2b_reg\.pth.*DIR"):
        locate.locate(released())


def test_shards_are_required_by_their_index(tmp_path: Path) -> None:
    config = released("infinity-8b", weights=str(tmp_path))
    index = hollow_shards(tmp_path / "infinity_8b_weights", {"a": (2,), "b": (3,)}, 2)
    fill(tmp_path, (config.files.tokenizer,))
    fill(tmp_path / "flan-t5-xl", TEXT)
    assert len(registry.provenance(config)["FoundationVision/Infinity"]["sha256"]) == 4
    (index.parent / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r": infinity_8b_weights/model-00002-of-00002\.safetensors\n"
    ):
        locate.locate(config)


def test_an_index_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    config = released("infinity-8b", weights=str(tmp_path))
    fill(tmp_path, (config.files.tokenizer,))
    index = tmp_path / config.files.transformer
    index.parent.mkdir()
    for text in ('{"weight_map": {"a": "../x.safetensors"}}', "{}", "[]", "<html>"):
        index.write_text(text)
        with pytest.raises(CheckpointError, match="not an index"):
            locate.locate(config)


def test_a_damaged_download_is_noticed(caches: Path) -> None:
    config = released()
    cached(caches, "google/flan-t5-xl", TEXT)
    names = (config.files.transformer, config.files.tokenizer)
    snapshot = cached(caches, "FoundationVision/Infinity", names)
    blob = (snapshot / config.files.tokenizer).resolve()
    blob.write_text("half of it")
    with pytest.raises(CheckpointError, match=f"damaged.*{blob.name}.*delete"):
        registry.fingerprint(config)


def test_a_checksum_is_computed_once_per_version_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    counted = []
    whole = hashing.file_sha256

    def counting(path: Path) -> str:
        counted.append(1)
        return whole(path)

    monkeypatch.setattr(hashing, "file_sha256", counting)
    # A file written a moment ago may change again unnoticed: its checksum is not kept.
    monkeypatch.setattr(hashing, "SETTLED_NS", 10**13)
    assert [hashing.cached_file_sha256(path) for _ in range(2)] == [sha("one")] * 2
    assert len(counted) == 2
    monkeypatch.setattr(hashing, "SETTLED_NS", -1)
    assert [hashing.cached_file_sha256(path) for _ in range(3)] == [sha("one")] * 3
    assert len(counted) == 3
    before = path.stat()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashing.cached_file_sha256(path) == sha("two"), "equal size and mtime do not fool it"
    for retained in hashing.checksum_folder().iterdir():
        retained.write_text("nonsense")
    assert hashing.cached_file_sha256(path) == sha("two")


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    monkeypatch.setattr(hashing, "SETTLED_NS", -1)
    (tmp_path / "file").write_text("one")
    assert hashing.cached_file_sha256(tmp_path / "file") == sha("one")


def test_finding_and_hashing_load_no_torch(tmp_path: Path) -> None:
    config = local_folder(tmp_path / "w")
    code = f"""
import sys
from dataclasses import replace
from varbench.conf.compose import model_config
from varbench.models import registry
config = replace(model_config("infinity-2b"), weights={str(tmp_path / "w")!r})
print(registry.fingerprint(config))
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == registry.fingerprint(config)
