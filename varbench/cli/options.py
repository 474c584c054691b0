"""What the modules of commands share: options, and errors told without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from varbench.errors import UserError

DEFAULT_STORE = Path("varbench-runs")
DEFAULT_SUITE = "smoke"
StoreOption = Annotated[Path, typer.Option("--store", help="Folder that keeps all results.")]
ModelFilter = Annotated[str, typer.Option("--model", help="Only these models, by comma.")]
MethodFilter = Annotated[str, typer.Option("--method", help="Only these methods.")]
ConceptFilter = Annotated[str, typer.Option("--concept", help="Only these concepts.")]
SuiteFilter = Annotated[str, typer.Option("--suite", help="Only these suites.")]


@contextmanager
def user_errors() -> Iterator[None]:
    """Errors that the user can mend end the command: their message, exit code 2."""
    from varbench.report.records import ReportError
    from varbench.store import StoreError

    try:
        yield
    except (UserError, StoreError, ReportError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def names(text: str, option: str) -> tuple[str, ...]:
    """Names separated by commas, each once.

    Raises:
        UserError: there is none.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise UserError(f"{option} needs at least one name")
    return found


def filters_of(model: str, method: str, concept: str, suite: str) -> Any:
    """What the options ``--model`` to ``--suite`` choose, as a report takes it."""
    from varbench.report import Filters

    given = (
        (model, "--model"),
        (method, "--method"),
        (concept, "--concept"),
        (suite, "--suite"),
    )
    return Filters(*(names(text, option) if text else () for text, option in given))
