"""Where a released model's files are, and their hashes; nothing is loaded and torch not imported.

Files come from a local folder or from the hub's cache, into which they are fetched if they are
absent and the network is there. A folder is laid out like the hub: transformer and tokenizer under
their names in the repository, the text encoder in a folder named like its own repository.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from varbench.errors import CheckpointError
from varbench.models.checksums import sha256
from varbench.models.infinity.config import ReleasedConfig
from varbench.models.infinity.schedules import grids_for
from varbench.models.infinity.shards import INDEX, shard_names

TEXT_NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json")
TEXT_OPTIONAL = ("special_tokens_map.json", "spiece.model")
TEXT_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Part:
    """The files wanted from one repository.

    Attributes:
        repository: hub id.
        revision: commit, tag or branch; None for a local folder.
        root: folder that the names refer to; None if the hub's cache has none.
        names: files by their paths in the repository.
        patterns: what to ask the hub for.
    """

    repository: str
    revision: str | None
    root: Path | None
    names: tuple[str, ...]
    patterns: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The names that are not there."""
        return tuple(n for n in self.names if self.root is None or not (self.root / n).is_file())

    @property
    def commit(self) -> str | None:
        """The commit that the hub's cache resolved the revision to."""
        return None if self.revision is None or self.root is None else self.root.name

    def path(self, name: str) -> Path:
        """A file that is there."""
        assert self.root is not None
        return self.root / name

    def checksums(self) -> dict[str, str]:
        """SHA-256 of every file.

        Raises:
            CheckpointError: the hub knows the file by another checksum.
        """
        found = {}
        for name in self.names:
            path = self.path(name)
            found[name] = sha256(path)
            # The hub's cache names large files by their SHA-256.
            blob = path.resolve().name
            if path.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob) and blob != found[name]:
                raise CheckpointError(
                    f"{path} is damaged: its SHA-256 is {found[name]}, the hub's is {blob}; "
                    f"delete {path.resolve()} and run again"
                )
        return found


def _with_shards(root: Path | None, names: Sequence[str]) -> tuple[str, ...]:
    """Names, and after each index that is there the shards it names."""
    out: list[str] = []
    for name in names:
        out.append(name)
        if name.endswith(INDEX) and root is not None and (root / name).is_file():
            folder = Path(name).parent
            out += [(folder / shard).as_posix() for shard in shard_names(root / name)]
    return tuple(out)


def _model_part(config: ReleasedConfig, root: Path | None) -> Part:
    files = config.files
    patterns = [files.transformer, files.tokenizer]
    if files.transformer.endswith(INDEX):
        patterns.append((Path(files.transformer).parent / "*.safetensors").as_posix())
    names = _with_shards(root, (files.transformer, files.tokenizer))
    revision = None if config.weights else files.revision
    return Part(files.repository, revision, root, names, tuple(patterns))


def _text_part(config: ReleasedConfig, root: Path | None) -> Part:
    files = config.files
    there = root is not None and (root / TEXT_WEIGHTS).is_file()
    weights = TEXT_WEIGHTS if there else TEXT_WEIGHTS + INDEX
    optional = [n for n in TEXT_OPTIONAL if root is not None and (root / n).is_file()]
    names = _with_shards(root, (*TEXT_NEEDED, *optional, weights))
    patterns = (*TEXT_NEEDED, *TEXT_OPTIONAL, "model*.safetensors", TEXT_WEIGHTS + INDEX)
    revision = None if config.weights else files.text_revision
    return Part(files.text_encoder, revision, root, names, patterns)


def _snapshot(part: Part, fetch: bool) -> Path | None:
    """The repository's folder in the hub's cache, its files fetched first if asked to."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                part.repository,
                revision=part.revision,
                allow_patterns=list(part.patterns),
                local_files_only=not fetch,
            )
        )
    except LocalEntryNotFoundError:
        if fetch:
            raise
        return None


def find(config: ReleasedConfig) -> tuple[Part, Part]:
    """Transformer and tokenizer, and the text encoder, as they are on this machine now."""
    if config.weights:
        root = Path(config.weights).expanduser()
        return _model_part(config, root), _text_part(config, root / _text_folder(config))
    model, text = _model_part(config, None), _text_part(config, None)
    return (
        _model_part(config, _snapshot(model, fetch=False)),
        _text_part(config, _snapshot(text, fetch=False)),
    )


def _text_folder(config: ReleasedConfig) -> str:
    return config.files.text_encoder.rpartition("/")[2]


def locate(config: ReleasedConfig) -> tuple[Part, Part]:
    """As :func:`find`, after fetching what is missing; all files are there.

    Raises:
        CheckpointError: files are missing; says which, from where, and into which folder.
    """
    parts = find(config)
    if not any(part.missing for part in parts):
        return parts
    if config.weights:
        raise _absent(config, parts, f"looked in {Path(config.weights).expanduser()}")
    try:
        for part in parts:
            if part.missing:
                _snapshot(part, fetch=True)
    except Exception as error:  # the hub's own errors and those of its HTTP library
        raise _absent(config, parts, f"fetching failed: {error}") from error
    parts = find(config)
    if any(part.missing for part in parts):
        raise _absent(config, parts, f"looked in the hub's cache, {hub_cache()}, and on the hub")
    return parts


def hub_cache() -> str:
    """The hub's cache folder."""
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _absent(config: ReleasedConfig, parts: Sequence[Part], why: str) -> CheckpointError:
    lines = [f"weights are missing ({why}):"]
    lines += [f"  {p.repository}: {', '.join(p.missing)}" for p in parts if p.missing]
    lines.append("Fetch them where there is a network, then pass model.weights=DIR:")
    folders = ("DIR", f"DIR/{_text_folder(config)}")
    revisions = (config.files.revision, config.files.text_revision)
    for part, folder, revision in zip(parts, folders, revisions, strict=True):
        if part.missing:
            includes = " ".join(f"--include '{pattern}'" for pattern in part.patterns)
            lines.append(
                f"  hf download {part.repository} --revision {revision} {includes} "
                f"--local-dir {folder}"
            )
    return CheckpointError("\n".join(lines))


def fingerprint(config: ReleasedConfig) -> str:
    """Hash of sizes, grids, precision and the files' SHA-256 (16 hex digits).

    Where the files lie, what they are called and which revision they are of does not matter.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    model, text = locate(config)
    content = {
        "transformer": asdict(config.transformer),
        "tokenizer": asdict(config.tokenizer),
        "grids": grids_for(config.pn, config.aspect_ratio),
        "precision": [config.precision, config.text_precision],
        "files": [list(part.checksums().values()) for part in (model, text)],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def text_fingerprint(config: ReleasedConfig) -> str:
    """Hash of the text encoder's files (16 hex digits).

    Raises:
        CheckpointError: files are missing or damaged.
    """
    content = list(locate(config)[1].checksums().values())
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def provenance(config: ReleasedConfig) -> dict[str, Any]:
    """Per repository: revision asked for, commit it was resolved to, SHA-256 of every file read.

    Revision and commit are None for a local folder, whose files say nothing of them.
    """
    return {
        part.repository: {
            "revision": part.revision,
            "commit": part.commit,
            "sha256": part.checksums(),
        }
        for part in locate(config)
    }
