"""Networks of metrics: the place and the checksum of their files.

`networks.yaml` says of each what it is for, where it lives, and its size, checksum and licence.
Nothing is downloaded here: `varbench fetch NAME` does that, and puts files into `networks` in the
data folder. A file that another library has kept is read where it lies, if it is the same file.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from varbench.data.published.catalog import TABLES, Asset
from varbench.data.published.data_folder import locate
from varbench.data.yaml_files import DISTINCT, Text, read_yaml, strict
from varbench.errors import UserError, unknown
from varbench.store.hashing import cached_file_sha256
from varbench.utils.files import expanded, home


class MissingNetworkError(UserError):
    """A network's file is not on this machine; says where it was looked for, and the fix."""


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

    @property
    def local_name(self) -> str:
        return f"networks/{Path(self.file).name}"

    def copies(self) -> Iterator[Path]:
        for keeper in self.kept_by:
            yield _LIBRARY_FOLDERS[keeper]() / Path(self.file).name
        if self.host == "package" and (spec := find_spec(self.place)) is not None:
            yield from (Path(root) / self.file for root in spec.submodule_search_locations or ())


@cache
def known() -> Mapping[str, Network]:
    """All networks by name, in the order of the file."""
    document = read_yaml(TABLES / "networks.yaml", "the table of networks", UserError)
    networks = document.read(dict[str, Network])
    for name, network in networks.items():
        if not network.file:
            document.fail(f"key 'file' is missing in {name!r}; add it", name)
    return {name: dataclasses.replace(network, name=name) for name, network in networks.items()}


def network_path(name: str) -> Path:
    """The file of a network.

    Raises:
        MissingNetworkError: it is not on this machine, or not whole; names the fix.
        UserError: there is no network of that name.
    """
    if (network := known().get(name)) is None:
        raise unknown("network", name, known())
    path, problems = locate(network)
    if path is None:
        places = "\n".join(f"  {text}" for text in problems)
        raise MissingNetworkError(
            f"network {name!r} is not on this machine: {Path(network.file).name}, "
            f"{network.size_text}, for {network.purpose}; licence: {network.licence}. "
            f"Looked for\n{places}\nrun `{network.command}`, or `varbench fetch {name} --from DIR` "
            "with the folder of a copy"
        )
    return path


def network_checksum(name: str) -> str:
    """SHA-256 of a network's file, 64 hex digits; kept until the file changes.

    Raises:
        MissingNetworkError: it is not on this machine.
    """
    return cached_file_sha256(network_path(name))
