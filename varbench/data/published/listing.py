"""Tables of published files for `varbench fetch` and `varbench list`, with their local status."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from varbench.data.published import catalog, networks
from varbench.data.published.catalog import Asset, PromptSetAsset
from varbench.data.published.data_folder import local_path, locate, receipt


def state_of(item: Asset, folder: Path | None = None) -> str:
    """The state of a file in words: "here", its place elsewhere, or why it cannot be used."""
    path, problems = locate(item, folder)
    if path is not None:
        return "here" if path == local_path(item, folder) else str(path)
    return next((text for text in problems if not text.endswith(": missing")), "missing")


def counts(published: PromptSetAsset, folder: Path | None = None) -> tuple[object, object]:
    """Rows and distinct prompts: as fetched, or as the table says, or "?"."""
    fetched = receipt(published, folder)
    rows = fetched.get("rows", published.rows)
    prompts = fetched.get("prompts", published.prompts)
    return ("?" if rows is None else rows), ("?" if prompts is None else prompts)


def network_table(folder: Path | None = None) -> str:
    """All networks of metrics: what for, size, licence, and the file or why there is none."""
    rows = [
        [name, asset.purpose, asset.size_text, asset.licence, state_of(asset, folder)]
        for name, asset in networks.known().items()
    ]
    return str(tabulate(rows, ["network", "for", "size", "licence", ""], disable_numparse=True))


def listing(folder: Path) -> str:
    """All published sets, statistics and networks: sizes, licence, how they are checked, state."""
    rows = []
    for name, asset in catalog.known().items():
        number, prompts = counts(asset, folder) if asset.columns else ("", "")
        access = "ask for access" if asset.gated else "by hand" if asset.host == "by_hand" else ""
        state = state_of(asset, folder)
        rows.append([name, number, prompts, asset.licence, asset.pinned, access, state])
    header = ["published set", "rows", "prompts", "licence", "checked by", "access", ""]
    sets = str(tabulate(rows, header, disable_numparse=True))
    place = f"in {folder} (another folder: --data, or VARBENCH_DATA)"
    return f"{sets}\n\n{network_table(folder)}\n\n{place}"
