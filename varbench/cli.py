"""The front door: thin Typer commands, each of which calls one function.

Nothing heavy is imported at the top, so that ``--help``, ``list`` and ``report`` are instant.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from varbench.errors import UserError, unknown

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

DEFAULT_STORE = Path("varbench-runs")
KINDS = ("models", "methods", "concepts", "suites", "metrics", "prompts")
StoreOption = Annotated[Path, typer.Option("--store", help="Folder that keeps all results.")]


@contextmanager
def _user_errors() -> Iterator[None]:
    from varbench.report.records import ReportError
    from varbench.store import StoreError

    try:
        yield
    except (UserError, StoreError, ReportError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--seed takes numbers separated by commas, got {text!r}") from error


def _names(text: str, option: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise UserError(f"{option} needs at least one name")
    return names


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"varbench {version('varbench')}")
        raise typer.Exit


@app.callback()
def front(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Erase concepts from next-scale (VAR) text-to-image models, score it, print the tables."""


@app.command()
def run(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. method.alpha=0.5")
    ] = None,
    model: Annotated[str, typer.Option(help="Model name.")] = "gallery",
    method: Annotated[str, typer.Option(help="Methods, separated by commas.")] = "svare",
    concept: Annotated[str, typer.Option(help="Concepts or YAML files, by comma.")] = "face-ada",
    suite: Annotated[str, typer.Option(help="What to measure.")] = "smoke",
    seed: Annotated[str, typer.Option(help="Seeds of the edit, by comma.")] = "0",
    store: StoreOption = DEFAULT_STORE,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    from_: Annotated[
        Path | None, typer.Option("--from", help="Repeat a stored cell (its cell.json).")
    ] = None,
    show_config: Annotated[bool, typer.Option(help="Print the resolved config and stop.")] = False,
) -> None:
    """Erase, generate, score, record; then print the table. The same command resumes."""
    with _user_errors():
        from varbench.plan import Request

        given = tuple(overrides or ())
        if wrong := [o for o in given if "=" not in o]:
            raise UserError(f"overrides have the form KEY=VALUE, got {wrong[0]!r}")
        request = Request(
            model,
            _names(method, "--method"),
            _names(concept, "--concept"),
            suite,
            _seeds(seed),
            given,
            device,
        )
        if from_ is not None:
            request = _request_of(from_, device, store)
        if show_config:
            _show(request)
            return
        _run(request, store)


def _request_of(path: Path, device: str, store: Path) -> Any:
    """The request that repeats a stored cell."""
    from varbench.plan import Request

    try:
        cell = json.loads(path.read_text())
        concept = cell["concept"]
        if cell["concept_file"] is not None:
            kept = store / "concepts" / f"{concept}.yaml"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(cell["concept_file"])
            concept = str(kept)
        overrides = tuple(cell["overrides"])
        return Request(
            cell["model"], (cell["method"],), (concept,), cell["suite"], (cell["seed"],),
            overrides, device,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a cell.json of varbench: {error}") from error


def _show(request: Any) -> None:
    from omegaconf import OmegaConf

    from varbench.conf.schema import plain
    from varbench.plan import plan

    for cell in plan(request):
        typer.echo(f"# {cell.command}")
        typer.echo(OmegaConf.to_yaml(OmegaConf.create(plain(cell.config))))


def _run(request: Any, store: Path) -> None:
    from rich.console import Console

    from varbench.plan import plan
    from varbench.progress import Progress
    from varbench.store import Store

    plan(request)  # refuse bad input before torch and the networks are loaded
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    import dataclasses

    from varbench.bench import run as run_bench
    from varbench.devices import pick_device
    from varbench.report import Filters, load_records, render
    from varbench.stages import Workshop

    request = dataclasses.replace(request, device=pick_device(request.device))
    shop = Workshop(Store(store), Progress(Console(stderr=True)), request.device)
    done = [entry.json("cell.json") for entry in run_bench(request, shop)]
    concepts = tuple(dict.fromkeys(cell["concept"] for cell in done))
    shown = Filters((request.model,), request.methods, concepts, (request.suite,))
    typer.echo(render(load_records(shop.store, shown), "table"))


@app.command()
def report(
    store: StoreOption = DEFAULT_STORE,
    format: Annotated[str, typer.Option(help="table, json, csv, md or latex.")] = "table",
    table: Annotated[str | None, typer.Option(help="Only this table: main, difference.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write Markdown, CSV, JSON and the HTML page here.")
    ] = None,
    model: Annotated[str, typer.Option(help="Only these models, by comma.")] = "",
    method: Annotated[str, typer.Option(help="Only these methods.")] = "",
    concept: Annotated[str, typer.Option(help="Only these concepts.")] = "",
    suite: Annotated[str, typer.Option(help="Only these suites.")] = "",
) -> None:
    """Tables and the page, from the store only."""
    with _user_errors():
        from varbench.report import Filters, load_records, render, write_report
        from varbench.store import Store

        given = (
            (model, "--model"),
            (method, "--method"),
            (concept, "--concept"),
            (suite, "--suite"),
        )
        filters = Filters(*(_names(text, option) if text else () for text, option in given))
        if out is None:
            typer.echo(render(load_records(Store(store), filters), format, table), nl=False)
        else:
            for path in write_report(Store(store), out, filters=filters):
                typer.echo(f"wrote {path}", err=True)


@app.command("list")
def list_(kind: Annotated[str, typer.Argument(help=", ".join(KINDS))]) -> None:
    """What there is."""
    with _user_errors():
        if kind not in KINDS:
            raise unknown("list", kind, KINDS)
        from varbench.catalogue import catalogue

        typer.echo(catalogue(kind))


def main() -> None:
    """Entry point of the ``varbench`` command."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
