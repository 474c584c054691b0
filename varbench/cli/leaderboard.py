"""Commands on published results: ``publish`` and ``check``."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from varbench.cli.options import (
    DEFAULT_STORE,
    StoreOption,
    filters_of,
    shares,
    user_errors,
)
from varbench.cli.output import echo
from varbench.errors import UserError

app = typer.Typer()

RESULTS = Path("results")


@app.command()
@shares("filters", filters_of)
def publish(
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[Path, typer.Option(help="The leaderboard's folder.")] = RESULTS / "leaderboard",
    filters: Any = None,
    variants: Annotated[
        bool, typer.Option("--variants", help="Include settings other than the model's defaults.")
    ] = False,
    from_rows: Annotated[
        bool, typer.Option("--from-rows", help="Renew the files in --out from their rows.")
    ] = False,
) -> None:
    """Write the results files of a store, with their rows: one per model, concept and method."""
    with user_errors():
        from varbench.leaderboard.publish import publish as write_results
        from varbench.leaderboard.renew import renew
        from varbench.store import Store

        if from_rows and (variants or any(vars(filters).values()) or store != DEFAULT_STORE):
            raise UserError("--from-rows reads no store: give --out only")
        if from_rows:
            paths = renew(out)
        else:
            paths = write_results(Store(store), out, filters, variants=variants)
        for path in paths:
            echo(f"wrote {path}", err=True)


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(help="Results folder, with leaderboard/, regression/, reported/.")
    ] = RESULTS,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Only read the files; measure nothing.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Measure the whole leaderboard again, which takes hours.")
    ] = False,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Report missing methods without failing.")
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(help="Measure in this store and resume there.", show_default="a new one"),
    ] = None,
) -> None:
    """Check that results files are valid and complete, and that they reproduce.

    Measures the part in regression/ again and names each number that changed. Exit code 1 if
    anything is wrong.
    """
    with user_errors():
        from varbench.leaderboard.check import LEADERBOARD, REGRESSION
        from varbench.leaderboard.check import check as check_files

        if files_only and (everything or store is not None):
            raise UserError("--files-only measures nothing: drop --all and --store")
        findings = check_files(folder)
        echo(findings.text())
        failed = bool(findings.problems or (findings.gaps and not incomplete))
        if not files_only:
            parts = [REGRESSION, *[LEADERBOARD] * everything]
            failed |= _differs([folder / part for part in parts], store)
        if failed:
            raise typer.Exit(1)


def _differs(parts: list[Path], store: Path | None) -> bool:
    """Measure the results of these folders again and print the changes; true if there are any."""
    from varbench.leaderboard.results import SUPERSEDED, read, results_files

    results = [read(path) for part in parts for path in results_files(part)]
    results = [result for result in results if result.status != SUPERSEDED]
    if not results:
        echo("nothing to measure again")
        return False
    from rich.console import Console

    from varbench.leaderboard.reproduce import changes, changes_text, reproduce
    from varbench.pipeline.context import RunContext
    from varbench.store import Store
    from varbench.utils.progress import Progress

    progress = Progress(Console(stderr=True))
    folder = tempfile.TemporaryDirectory() if store is None else nullcontext(str(store))
    with folder as name:
        again = reproduce(results, RunContext(Store(Path(name)), progress))
    differences = changes(results, again)
    echo(changes_text(differences, len(results)))
    return bool(differences)
