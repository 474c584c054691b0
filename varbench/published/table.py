"""The table of published sets, `sets.yaml`: home, revision, checksum, licence, how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from varbench.errors import unknown
from varbench.prompt_rows import PromptSetError
from varbench.strict_yaml import Field, read_yaml

Format = Literal["csv", "json", "statistics"]
Host = Literal["github", "hub", "url", "by_hand"]

_FILE = Path(__file__).with_name("sets.yaml")
_SUFFIX: dict[Format, str] = {"csv": ".csv", "json": ".json", "statistics": ".npz"}
_KEYS = ("about", "cite", "licence", "format")
_OPTIONAL = (*get_args(Host), "revision", "file", "sha256", "gated", "rows", "prompts", "columns")
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


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        name: what commands and concept files call it.
        about: what it is, one or two sentences.
        cite: the paper.
        host: where it lives: a GitHub repository, a dataset of the Hugging Face hub, another
            address, or nowhere (made by hand as `about` says).
        place: `owner/name`, or the address.
        revision: the commit it is fetched at; None where it cannot be pinned.
        file: its path in the repository; `*` there means that the name is not known.
        sha256: checksum of the file; None where no copy was at hand when the table was written.
        licence: of the file.
        gated: what to do before it can be fetched; None if it is open to all.
        rows: rows of the file; None if not known.
        prompts: distinct prompts among them; None if not known.
        format: how it is read.
        columns: of a prompt set; None for statistics.
    """

    name: str
    about: str
    cite: str
    host: Host
    place: str
    revision: str | None
    file: str
    sha256: str | None
    licence: str
    gated: str | None
    rows: int | None
    prompts: int | None
    format: Format
    columns: Columns | None

    @property
    def local_name(self) -> str:
        """What the file is called in the data folder."""
        return self.name + _SUFFIX[self.format]

    @property
    def page(self) -> str:
        """Where a person can look at it; "" for what is made by hand."""
        return {
            "github": f"https://github.com/{self.place}",
            "hub": f"https://huggingface.co/datasets/{self.place}",
            "url": self.place,
            "by_hand": "",
        }[self.host]

    @property
    def address(self) -> str:
        """What a plain download reads; of a hub's dataset, its page."""
        if self.host == "github":
            return f"https://raw.githubusercontent.com/{self.place}/{self.revision}/{self.file}"
        return self.page

    @property
    def pinned(self) -> str:
        """How sure it is that everyone gets the same bytes, in words."""
        if self.sha256:
            return "checksum"
        if self.revision:
            return "revision (no copy was at hand for a checksum)"
        return "not pinned: no copy was at hand"


@cache
def known() -> Mapping[str, Published]:
    """All published sets and statistics by name, in the order of the file."""
    root = read_yaml(_FILE, "the table of published sets", PromptSetError)
    return {name: _read(name, entry) for name, entry in root.entries().items()}


def prompt_sets() -> Mapping[str, Published]:
    """Those that are sets of prompts."""
    return {name: one for name, one in known().items() if one.columns is not None}


def by_name(name: str) -> Published:
    """One of the table.

    Raises:
        UserError: there is none of that name.
    """
    if name not in known():
        raise unknown("published set", name, known())
    return known()[name]


def _read(name: str, entry: Field) -> Published:
    keys = entry.keys(_KEYS, _OPTIONAL)
    hosts = [host for host in get_args(Host) if host in keys]
    if len(hosts) != 1:
        entry.fail(f"{name!r} needs one of the keys {', '.join(get_args(Host))}")
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

    return Published(
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
