"""Everything that commands print: texts from files of others cannot steer the terminal."""

from __future__ import annotations

import logging

import typer

from varbench.utils.text import visible


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text to standard output, or to standard error."""
    typer.echo(_visible(text), err=err, nl=nl)


def log_to_terminal() -> None:
    """Show warnings of all loggers on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _visible(super().format(record))


def _visible(text: str) -> str:
    return "\n".join(visible(line, keep="\t") for line in text.split("\n"))
