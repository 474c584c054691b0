"""The table of published sets, `sets.yaml`: home, revision, checksum, licence, how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from varbench.data.prompt import PromptSetError
from varbench.data.published.asset import Asset, Host
from varbench.data.yaml_files import Field, read_yaml
from varbench.errors import unknown
from varbench.utils.files import packaged

Format = Literal["csv", "json", "statistics"]
_HOSTS: tuple[Host, ...] = ("github", "hub", "url", "by_hand")

_FILE = packaged("data/published") / "sets.yaml"
_SUFFIX: dict[Format, str] = {"csv": ".csv", "json": ".json", "statistics": ".npz"}
_KEYS = ("about", "cite", "licence", "format")
_OPTIONAL = (*_HOSTS, "revision", "file", "sha256", "gated", "rows", "prompts", "columns")
_MANY = 10**9


@dataclass(frozen=True)
class Columns:
    """How the columns of a set are read.

    Attributes:
        prompt: column with the prompts.
        neutral: column with each prompt's neutral twin; becomes label `neutral`.
        tags: column with several tags, separated by commas; each tag becomes a label of its own,
            "yes" or "".
        labels: columns that become labels under their own names.
    """

    prompt: str
    neutral: str | None
    tags: str | None
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PromptSetAsset(Asset):
    """One published set, or statistics.

    Attributes:
        rows: rows of the file; None if not known.
        prompts: distinct prompts among them; None if not known.
        format: how it is read.
        columns: of a prompt set; None for statistics.
    """

    rows: int | None
    prompts: int | None
    format: Format
    columns: Columns | None

    @property
    def local_name(self) -> str:
        return self.name + _SUFFIX[self.format]


@cache
def known() -> Mapping[str, PromptSetAsset]:
    """All published sets and statistics by name, in the order of the file."""
    root = read_yaml(_FILE, "the table of published sets", PromptSetError)
    return {name: _read(name, entry) for name, entry in root.entries().items()}


def prompt_sets() -> Mapping[str, PromptSetAsset]:
    """Those that are sets of prompts."""
    return {name: one for name, one in known().items() if one.columns is not None}


def by_name(name: str) -> PromptSetAsset:
    """One of the table.

    Raises:
        UserError: there is none of that name.
    """
    if name not in known():
        raise unknown("published set", name, known())
    return known()[name]


def _read(name: str, entry: Field) -> PromptSetAsset:
    keys = entry.keys(_KEYS, _OPTIONAL)
    hosts = [host for host in _HOSTS if host in keys]
    if len(hosts) != 1:
        entry.fail(f"{name!r} needs one of the keys {', '.join(_HOSTS)}")
    form = keys["format"].text()
    if form not in _SUFFIX:
        keys["format"].fail(f"unknown format {form!r}; choose one of {', '.join(_SUFFIX)}")
    if ("columns" in keys) == (form == "statistics"):
        entry.fail(f"{name!r}: a set of prompts has 'columns', statistics have none")
    host = hosts[0]
    if host == "github" and not {"revision", "file"} <= set(keys):
        entry.fail(f"{name!r}: a file of a repository has a revision and a path")

    def text(key: str) -> str | None:
        return keys[key].text() if key in keys else None

    def count(key: str) -> int | None:
        return keys[key].integer(1, _MANY) if key in keys else None

    return PromptSetAsset(
        name=name,
        about=keys["about"].text(),
        cite=keys["cite"].text(),
        host=host,
        place=keys[host].text(),
        revision=text("revision"),
        file=text("file") or "",
        sha256=text("sha256"),
        licence=keys["licence"].text(),
        gated=text("gated"),
        rows=count("rows"),
        prompts=count("prompts"),
        format=form,
        columns=_read_columns(keys["columns"]) if "columns" in keys else None,
    )


def _read_columns(entry: Field) -> Columns:
    keys = entry.keys(("prompt",), ("neutral", "tags", "labels"))
    return Columns(
        prompt=keys["prompt"].text(),
        neutral=keys["neutral"].text() if "neutral" in keys else None,
        tags=keys["tags"].text() if "tags" in keys else None,
        labels=keys["labels"].texts() if "labels" in keys else (),
    )
