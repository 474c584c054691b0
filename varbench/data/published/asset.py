"""What is known of any file that others have published: home, revision, checksum, licence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

Host = Literal["github", "hub", "url", "package", "by_hand"]


@dataclass(frozen=True, kw_only=True)
class Asset(ABC):
    """One published file.

    Attributes:
        name: what commands and concept files call it.
        about: what it is, one or two sentences.
        cite: the paper.
        host: where it lives: a GitHub repository, a dataset of the Hugging Face hub, another
            address, a Python package, or nowhere (made by hand as `about` says).
        place: `owner/name`, the address, or the package.
        revision: the commit it is fetched at; None where it cannot be pinned.
        file: its path in the repository or package, or its name; `*` there means that the name
            is not known.
        size: bytes; None where not known.
        sha256: checksum of the file; None where no copy was at hand when the table was written.
        licence: of the file.
        gated: what to do before it can be fetched; None if it is open to all.
    """

    name: str
    about: str
    cite: str
    host: Host
    place: str
    revision: str | None = None
    file: str
    size: int | None = None
    sha256: str | None = None
    licence: str
    gated: str | None = None

    @property
    @abstractmethod
    def local_name(self) -> str:
        """The file's path in the data folder."""

    @property
    def page(self) -> str:
        """Where a person can look at it; "" for what is made by hand."""
        return {
            "github": f"https://github.com/{self.place}",
            "hub": f"https://huggingface.co/datasets/{self.place}",
            "url": self.place,
            "package": f"the Python package {self.place}",
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

    @property
    def size_text(self) -> str:
        """`932.8 MB`, or `size not known`."""
        return "size not known" if self.size is None else f"{self.size / 1e6:.1f} MB"

    @property
    def command(self) -> str:
        """What brings the file."""
        if self.host == "package":
            return f"pip install {self.place}"
        return f"varbench fetch {self.name}"
