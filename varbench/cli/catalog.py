"""The commands ``list`` and ``fetch``: what is available, and getting what others published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varbench.cli.options import user_errors
from varbench.cli.output import echo
from varbench.errors import unknown

app = typer.Typer()

KINDS = ("models", "methods", "concepts", "suites", "metrics", "prompts", "weights", "ablations")


def warn_of_plugins(*kinds: str) -> None:
    """Warn of plugins of these kinds, or of all, that cannot be used."""
    from varbench.cli.list_tables import problems

    for problem in problems(*kinds):
        echo(f"warning: {problem}", err=True)


@app.command("fetch")
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="What to fetch; without a name, list all."),
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Take the files from this folder or file.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for fetched files.", envvar="VARBENCH_DATA", show_default=False),
    ] = None,
) -> None:
    """Download published prompt sets and networks, verify and keep them."""
    with user_errors():
        from rich.console import Console

        from varbench.data.published.data_folder import data_folder, listing, locate
        from varbench.data.published.fetch import by_name, notice
        from varbench.data.published.fetch import fetch as fetch_asset
        from varbench.utils.progress import Progress

        folder = data or data_folder()
        if not names:
            echo(listing(folder))
        for asset in [by_name(name) for name in names or ()]:
            echo(notice(asset), err=True)
            summary = fetch_asset(asset, folder, from_, Progress(Console(stderr=True)))
            echo(f"{asset.name}: {summary}: {locate(asset, folder)[0]}")


@app.command("list")
def list_(kind: Annotated[str, typer.Argument(help=", ".join(KINDS))]) -> None:
    """List what is available of one kind."""
    with user_errors():
        if kind not in KINDS:
            raise unknown("list", kind, KINDS)
        from varbench.cli.list_tables import list_table

        echo(list_table(kind))
        warn_of_plugins(kind)
