"""The tables that `varbench fetch` and `varbench list` print: what there is, and what is here."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from varbench.data.published import catalog, networks
from varbench.data.published.catalog import Asset, PromptSetAsset
from varbench.data.published.data_folder import data_folder, local_path, problem, receipt
from varbench.data.published.networks import Network


def where(item: Asset, folder: Path | None = None) -> tuple[Path | None, str]:
    """The file, or None, and in words: where it is, or why it cannot be used."""
    if isinstance(item, Network):
        path, amiss = networks.find(item, folder)
        if path is not None:
            return path, str(path)
        damaged = [one for one in amiss if not one.endswith(": missing")]
        return None, damaged[0] if damaged else "missing"
    wrong = problem(item, folder)
    return (None, wrong) if wrong else (local_path(item, folder), "here")


def counts(published: PromptSetAsset, folder: Path | None = None) -> tuple[object, object]:
    """Rows and distinct prompts: as fetched, or as the table says, or "?"."""
    known = receipt(published, folder or data_folder())
    rows = known.get("rows", published.rows)
    prompts = known.get("prompts", published.prompts)
    return ("?" if rows is None else rows), ("?" if prompts is None else prompts)


def state(published: PromptSetAsset, folder: Path | None = None) -> str:
    """`here`, or why it cannot be used."""
    return where(published, folder)[1]


def network_table(folder: Path | None = None) -> str:
    """All networks of metrics: what for, size, licence, and the file or why there is none."""
    rows = [
        [name, one.purpose, one.size_text, one.licence, where(one, folder)[1]]
        for name, one in networks.known().items()
    ]
    return str(tabulate(rows, ["network", "for", "size", "licence", ""], disable_numparse=True))


def listing(folder: Path) -> str:
    """All published sets, statistics and networks: sizes, licence, how they are checked, state."""
    rows = []
    for name, one in catalog.known().items():
        number, prompts = counts(one, folder) if one.columns else ("", "")
        access = "ask for access" if one.gated else "by hand" if one.host == "by_hand" else ""
        rows.append([name, number, prompts, one.licence, one.pinned, access, state(one, folder)])
    header = ["published set", "rows", "prompts", "licence", "checked by", "access", ""]
    sets = str(tabulate(rows, header, disable_numparse=True))
    place = f"in {folder} (another folder: --data, or VARBENCH_DATA)"
    return f"{sets}\n\n{network_table(folder)}\n\n{place}"
