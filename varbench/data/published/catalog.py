"""Files that others have published: home, revision, checksum, licence.

Prompt sets and statistics are listed in `sets.yaml`, networks of metrics in `networks.yaml`.
Nothing is downloaded here: `varbench fetch NAME` does that. A network that another library has kept
is read where it lies, if it is the same file.
"""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from varbench.data.prompt import PromptSetError
from varbench.data.yaml_files import DISTINCT, AnyTexts, Text, read_yaml, strict, whole
from varbench.utils.files import expanded, home, packaged

Host = Literal["github", "hub", "url", "package", "by_hand"]
Format = Literal["csv", "json", "statistics"]

TABLES = packaged("data/published")
_SUFFIX: dict[Format, str] = {"csv": ".csv", "json": ".json", "statistics": ".npz"}
_MANY = 10**12
Published = TypeVar("Published", bound="Asset")


@dataclass(frozen=True, kw_only=True)
class Asset(ABC):
    """One published file, an entry of `sets.yaml` or `networks.yaml`.

    Attributes:
        name: what commands and concept files call it.
        about: what it is, one or two sentences.
        cite: the paper.
        host: where it lives: a GitHub repository, a dataset of the Hugging Face hub, another
            address, a Python package, or nowhere (made by hand as `about` says).
        place: `owner/name`, the address, or the package.
        revision: the commit it is fetched at; None where it cannot be pinned.
        file: its path in the repository or package, or its name; `*` there means that the name
            is not known; "" where the address says all.
        size: bytes; None where not known.
        sha256: checksum of the file; None where no copy was at hand when the table was written.
        licence: of the file.
        gated: what to do before it can be fetched; None if it is open to all.
    """

    name: str = ""  # in the tables, the key of the entry
    about: Text
    cite: Text
    host: Host
    place: Text
    revision: Text | None = None
    file: Text = ""
    size: Annotated[int, whole(1, _MANY)] | None = None
    sha256: Text | None = None
    licence: Text
    gated: Text | None = None

    @property
    @abstractmethod
    def local_name(self) -> str:
        """The file's path in the data folder."""

    def copies(self) -> Iterator[Path]:
        """Places outside the data folder where the same file may lie."""
        yield from ()

    @property
    def page(self) -> str:
        """Its page for people; "" for a file made by hand."""
        return {
            "github": f"https://github.com/{self.place}",
            "hub": f"https://huggingface.co/datasets/{self.place}",
            "url": self.place,
            "package": f"the Python package {self.place}",
            "by_hand": "",
        }[self.host]

    @property
    def address(self) -> str:
        """Address of a plain download; of a hub's dataset, its page."""
        if self.host == "github":
            return f"https://raw.githubusercontent.com/{self.place}/{self.revision}/{self.file}"
        return self.page

    @property
    def pinned(self) -> str:
        """Guarantee that everyone gets the same bytes, in words."""
        if self.sha256:
            return "checksum"
        if self.revision:
            return "revision (no copy was at hand for a checksum)"
        return "not pinned: no copy was at hand"

    @property
    def size_text(self) -> str:
        """`932.8 MB`, or `size not known`."""
        return "size not known" if self.size is None else f"{self.size / 1e6:.1f} MB"

    @property
    def command(self) -> str:
        """Command that brings the file."""
        if self.host == "package":
            return f"pip install {self.place}"
        return f"varbench fetch {self.name}"


@strict
@dataclass(frozen=True)
class Columns:
    """Meaning of the columns of a set.

    Attributes:
        prompt: column with the prompts.
        neutral: column with each prompt's neutral twin; becomes label `neutral`.
        tags: column with several tags, separated by commas; each tag becomes a label of its own,
            "yes" or "".
        labels: columns that become labels under their own names.
    """

    prompt: Text
    neutral: Text | None = None
    tags: Text | None = None
    labels: AnyTexts = ()


@strict
@dataclass(frozen=True, kw_only=True)
class PromptSetAsset(Asset):
    """One published set, or statistics.

    Attributes:
        rows: rows of the file; None if not known.
        prompts: distinct prompts among them; None if not known.
        format: how it is read.
        columns: of a prompt set; None for statistics.
    """

    rows: Annotated[int, whole(1, _MANY)] | None = None
    prompts: Annotated[int, whole(1, _MANY)] | None = None
    format: Format
    columns: Columns | None = None

    def __post_init__(self) -> None:
        if (self.columns is None) != (self.format == "statistics"):
            raise ValueError("must have 'columns' if it is a set of prompts, none if statistics")
        if self.host == "github" and not (self.revision and self.file):
            raise ValueError("must have 'revision' and 'file', as it is in a repository")

    @property
    def local_name(self) -> str:
        return self.name + _SUFFIX[self.format]


def _torch_folder() -> Path:
    """The folder of torch.hub, which torchvision and others download to."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache")
    base = os.environ.get("TORCH_HOME") or cache_home / "torch"
    return expanded(base) / "hub" / "checkpoints"


_Library = Literal["clean-fid", "clip", "torch"]
# As the libraries themselves have it: clean-fid's folder cannot be set.
_LIBRARY_FOLDERS: Mapping[_Library, Callable[[], Path]] = {
    "clean-fid": lambda: Path("." if os.name == "nt" else "/tmp"),
    "clip": lambda: home() / ".cache" / "clip",
    "torch": _torch_folder,
}


@strict
@dataclass(frozen=True, kw_only=True)
class Network(Asset):
    """One network file.

    Attributes:
        purpose: what looks with it, in words.
        kept_by: libraries in whose folders the same file may lie.
    """

    purpose: Text
    kept_by: Annotated[tuple[_Library, ...], DISTINCT] = ()

    def __post_init__(self) -> None:
        if not self.file:
            raise ValueError("must have a 'file'")

    @property
    def local_name(self) -> str:
        return f"networks/{Path(self.file).name}"

    def copies(self) -> Iterator[Path]:
        for keeper in self.kept_by:
            yield _LIBRARY_FOLDERS[keeper]() / Path(self.file).name
        if self.host == "package" and (spec := find_spec(self.place)) is not None:
            yield from (Path(root) / self.file for root in spec.submodule_search_locations or ())


def _table(name: str, form: type[Published]) -> Mapping[str, Published]:
    document = read_yaml(TABLES / name, "the table of published files", PromptSetError)
    assets = document.read(dict[str, form])  # type: ignore[valid-type]
    return {name: dataclasses.replace(asset, name=name) for name, asset in assets.items()}


@cache
def known() -> Mapping[str, PromptSetAsset]:
    """All published sets and statistics by name, in the order of the file."""
    return _table("sets.yaml", PromptSetAsset)


@cache
def networks() -> Mapping[str, Network]:
    """All networks of metrics by name, in the order of the file."""
    return _table("networks.yaml", Network)


def prompt_sets() -> Mapping[str, PromptSetAsset]:
    """Those that are sets of prompts."""
    return {name: asset for name, asset in known().items() if asset.columns is not None}
