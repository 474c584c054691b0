"""The command ``varbench``: thin Typer commands, each of which calls one function of a package.

Nothing heavy is imported at the top of these modules, so that ``--help``, ``list`` and ``report``
load no network library.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from varbench.cli import catalog, export, leaderboard, results, run, score
from varbench.cli.options import STOPPED, problem_of
from varbench.cli.output import echo, log_to_terminal

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
for module in (run, catalog, results, leaderboard, export, score):
    app.add_typer(module.app)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        echo(f"varbench {version('varbench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Erase concepts from next-scale (VAR) text-to-image models, score it, print the tables."""
    log_to_terminal()


def main() -> None:
    """Entry point of the ``varbench`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of another encoding still has a table
            stream.reconfigure(errors="replace")
    try:
        app()
    except KeyboardInterrupt:
        echo(STOPPED, err=True)
        sys.exit(130)
    except OSError as error:  # outside the commands, such as of --help into a full disk
        echo(f"error: {problem_of(error) or error}", err=True)
        sys.exit(2)
    finally:
        _flush()


def _flush() -> None:
    """Write what is left, or drop it: Python would report a full disk once more at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
