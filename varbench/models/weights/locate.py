"""The files of released models and their hashes; nothing is loaded and torch not imported.

Files come from a local folder or from the hub's cache, into which absent ones are fetched. A
model's config (:class:`ReleasedConfig`) names the files and their places in a local folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from varbench.errors import CheckpointError
from varbench.models.weights.released import INDEX, ReleasedConfig, Source
from varbench.store.hashing import cached_file_sha256
from varbench.utils.files import expanded, home
from varbench.utils.weights import stand_in

logger = logging.getLogger(__name__)


def shard_names(index: Path) -> dict[str, tuple[str, ...]]:
    """File names of an index's shards -> names of the tensors in each.

    Raises:
        CheckpointError: not an index of files in its own folder.
    """
    shards: dict[str, list[str]] = {}
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        for name, file in weight_map.items():
            if Path(file).name != file:
                raise ValueError(f"{file!r} is not a plain file name")
            shards.setdefault(file, []).append(name)
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"{index} is not an index of safetensors shards ({error}); fetch it again"
        ) from error
    return {file: tuple(shards[file]) for file in sorted(shards)}


@dataclass(frozen=True)
class Part:
    """The files of one repository, as they are on this machine.

    Attributes:
        source: the files required.
        root: folder that the names refer to; None if the hub's cache has none.
        local: True for a local folder, False for the hub's cache.
    """

    source: Source
    root: Path | None
    local: bool

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Files by their paths in the repository, an index before the shards it names."""
        source = self.source
        required = [*source.files, *(name for name in source.optional if self._has(name))]
        if source.either:
            required.append(next((n for n in source.either if self._has(n)), source.either[-1]))
        out: list[str] = []
        for name in required:
            out.append(name)
            if name.endswith(INDEX) and self._has(name):
                folder = Path(name).parent
                out += [(folder / shard).as_posix() for shard in shard_names(self.path(name))]
        return tuple(out)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names without a file."""
        return tuple(name for name in self.names if not self._has(name))

    def _has(self, name: str) -> bool:
        return self.root is not None and (self.root / name).is_file()

    def path(self, name: str) -> Path:
        """The path of a file that exists."""
        assert self.root is not None
        return self.root / name

    def checksums(self) -> dict[str, str]:
        """SHA-256 of every file.

        Raises:
            CheckpointError: a pointer or a page lies in its place, or the hub knows the file by
                another checksum.
        """
        sums = {}
        for name in self.names:
            path = self.path(name)
            if kind := stand_in(path):
                raise CheckpointError(f"{path} is {kind}, not the model's file; fetch it again")
            sums[name] = cached_file_sha256(path)
            # The hub's cache names large files by their SHA-256.
            blob = path.resolve().name
            if path.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob) and blob != sums[name]:
                raise CheckpointError(
                    f"{path} is damaged: its SHA-256 is {sums[name]}, the hub's is {blob}; "
                    f"delete {path.resolve()} and run again"
                )
        return sums


def _snapshot(source: Source, fetch: bool) -> Path | None:
    """The repository's folder in the hub's cache; with ``fetch`` its files are fetched first."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source.repository,
                revision=source.revision,
                cache_dir=_hub_cache(),
                allow_patterns=list(source.patterns),
                local_files_only=not fetch,
            )
        )
    except LocalEntryNotFoundError:
        if fetch:
            raise
        return None


def _hub_cache() -> Path:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    return home().joinpath(*cache.parts[1:]) if cache.parts[:1] == ("~",) else cache


def place(config: ReleasedConfig) -> str:
    """The folder searched for a model's files: the local folder, or the hub's cache."""
    if config.weights:
        return str(expanded(config.weights))
    return str(_hub_cache())


def find(config: ReleasedConfig) -> tuple[Part, ...]:
    """The parts of a model on this machine, in the order of its sources."""
    if config.weights:
        root = Path(place(config))
        return tuple(Part(s, root / s.folder, local=True) for s in config.sources())
    return tuple(Part(s, _snapshot(s, fetch=False), local=False) for s in config.sources())


def locate(config: ReleasedConfig) -> tuple[Part, ...]:
    """The parts of a model, complete: missing files are fetched from the hub.

    Raises:
        CheckpointError: files are missing; names them, their source and the target folder.
    """
    parts = find(config)
    missing = [part for part in parts if part.missing]
    if missing and config.weights:
        raise _absent(parts, f"looked in {place(config)}")
    try:
        for part in missing:
            logger.warning(
                "fetching %s of https://huggingface.co/%s (revision %s; its page states the "
                "licence) into %s; to use files at hand, stop and pass model.weights=DIR",
                ", ".join(part.missing), part.source.repository, part.source.revision,
                place(config),
            )  # fmt: skip
            _snapshot(part.source, fetch=True)
    except Exception as error:  # the hub's own errors and those of its HTTP library
        raise _absent(parts, f"fetching failed: {error}") from error
    parts = find(config) if missing else parts
    if any(part.missing for part in parts):
        raise _absent(parts, f"looked in the hub's cache, {place(config)}, and on the hub")
    return parts


def _absent(parts: Sequence[Part], why: str) -> CheckpointError:
    absent = [part for part in parts if part.missing]
    lines = [f"weights are missing ({why}):"]
    lines += [f"  {part.source.repository}: {', '.join(part.missing)}" for part in absent]
    lines.append("Fetch them where there is a network, then pass model.weights=DIR:")
    for part in absent:
        source = part.source
        includes = " ".join(f"--include '{pattern}'" for pattern in source.patterns)
        lines.append(
            f"  hf download {source.repository} --revision {source.revision} {includes} "
            f"--local-dir {'/'.join(filter(None, ('DIR', source.folder)))}"
        )
    return CheckpointError("\n".join(lines))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(config: ReleasedConfig) -> str:
    """Hash of the described config and of the files' SHA-256 (16 hex digits).

    Paths, file names and revisions do not count.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    files = [list(part.checksums().values()) for part in locate(config)]
    return _digest(config.described() | {"files": files})


def files_fingerprint(parts: Sequence[Part]) -> str:
    """Hash of the content of the parts' files (16 hex digits).

    Raises:
        CheckpointError: a file is damaged.
    """
    return _digest([digest for part in parts for digest in part.checksums().values()])


def provenance(config: ReleasedConfig) -> dict[str, Any]:
    """Per repository: requested revision, commit it resolved to, SHA-256 of every file.

    Revision and commit are None for a local folder.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    return {
        part.source.repository: {
            "revision": None if part.local else part.source.revision,
            "commit": None if part.local or part.root is None else part.root.name,
            "sha256": part.checksums(),
        }
        for part in locate(config)
    }
