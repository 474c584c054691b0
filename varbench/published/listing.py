"""The table that `varbench fetch` prints without a name: what there is, and what is here."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from varbench.published import table
from varbench.published.folder import data_folder, problem, receipt
from varbench.published.table import Published


def counts(published: Published, folder: Path | None = None) -> tuple[object, object]:
    """Rows and distinct prompts: as fetched, or as the table says, or "?"."""
    known = receipt(published, folder or data_folder())
    rows = known.get("rows", published.rows)
    prompts = known.get("prompts", published.prompts)
    return ("?" if rows is None else rows), ("?" if prompts is None else prompts)


def state(published: Published, folder: Path | None = None) -> str:
    """`here`, or why it cannot be used."""
    return problem(published, folder) or "here"


def listing(folder: Path) -> str:
    """All published sets and statistics: rows, prompts, licence, how they are checked, state."""
    rows = []
    for name, one in table.known().items():
        number, prompts = counts(one, folder) if one.columns else ("", "")
        access = "ask for access" if one.gated else "by hand" if one.host == "by_hand" else ""
        rows.append([name, number, prompts, one.licence, one.pinned, access, state(one, folder)])
    header = ["published set", "rows", "prompts", "licence", "checked by", "access", ""]
    text = str(tabulate(rows, header, disable_numparse=True))
    return f"{text}\n\nin {folder} (another folder: --data, or VARBENCH_DATA)"
