"""The front door: thin Typer commands, each of which calls one function.

Nothing heavy is imported at the top, so that ``--help``, ``list`` and ``report`` are instant.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from varbench.cli import export, leaderboard, results, score
from varbench.cli.options import DEFAULT_STORE, DEFAULT_SUITE, StoreOption, names, user_errors
from varbench.errors import UserError, unknown
from varbench.store.failures import LIMIT, forget

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(results.app)
app.add_typer(leaderboard.app)
app.add_typer(export.app)
app.add_typer(score.app)

DEFAULT_METHOD, DEFAULT_CONCEPT = "svare", "face-ada"
KINDS = ("models", "methods", "concepts", "suites", "metrics", "prompts", "weights", "ablations")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--seed takes numbers separated by commas, got {text!r}") from error


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


def _on_a_run(act: Callable[..., None]) -> Callable[..., None]:
    """A command that takes what a run takes.

    ``act`` gets the request, the store's folder and the ablation or None; with an ablation, the
    request's method is empty, and its concepts and suite are where they were not given. Its
    keyword-only parameters are options besides.
    """

    def command(
        overrides: Annotated[
            list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. method.alpha=0.5")
        ] = None,
        model: Annotated[str, typer.Option(help="Model name.")] = "gallery",
        method: Annotated[
            str | None,
            typer.Option(help="Methods, separated by commas.", show_default=DEFAULT_METHOD),
        ] = None,
        concept: Annotated[
            str | None,
            typer.Option(
                help="Concepts or YAML files, by comma; A+B is one edit of both.",
                show_default=DEFAULT_CONCEPT,
            ),
        ] = None,
        suite: Annotated[
            str | None, typer.Option(help="What to measure.", show_default=DEFAULT_SUITE)
        ] = None,
        ablation: Annotated[
            str | None, typer.Option(help="An ablation's variants instead of a method.")
        ] = None,
        seed: Annotated[str, typer.Option(help="Seeds of the edit, by comma.")] = "0",
        store: StoreOption = DEFAULT_STORE,
        device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
        from_: Annotated[
            Path | None, typer.Option("--from", help="Repeat a stored cell (its cell.json).")
        ] = None,
        show_config: Annotated[
            bool, typer.Option("--show-config", help="Print the resolved config and stop.")
        ] = False,
        **own: Any,
    ) -> None:
        with user_errors():
            from dataclasses import replace

            from varbench.conf.engine import split
            from varbench.pipeline.plan import Request

            given = tuple(overrides or ())
            if wrong := [o for o in given if "=" not in o]:
                raise UserError(f"overrides have the form KEY=VALUE, got {wrong[0]!r}")
            varied = None if ablation is None else _ablation(ablation, method)
            or_default = {"concept": DEFAULT_CONCEPT, "suite": DEFAULT_SUITE}
            if varied is not None:
                or_default = dict.fromkeys(or_default, "")
            engine, given = split(given)
            request = Request(
                model,
                names(method or DEFAULT_METHOD, "--method") if varied is None else (),
                names(concept, "--concept") if concept else _given(or_default["concept"]),
                suite or or_default["suite"],
                _seeds(seed),
                given,
                device,
                engine,
            )
            if from_ is not None:
                request = replace(_request_of(from_, device, store), engine=engine)
            if show_config:
                for _, one in _requests(request, varied):
                    _show(one)
            else:
                act(request, store, varied, **own)

    command.__doc__ = act.__doc__
    shared = inspect.signature(command, eval_str=True).parameters.values()
    extra = inspect.signature(act, eval_str=True).parameters.values()
    parameters = [p for p in shared if p.kind is not p.VAR_KEYWORD]
    parameters += [p for p in extra if p.kind is p.KEYWORD_ONLY]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _given(name: str) -> tuple[str, ...]:
    return (name,) if name else ()


def _ablation(name: str, method: str | None) -> Any:
    from varbench.pipeline.ablation import load_ablation

    if method is not None:
        raise UserError("--ablation has its own methods; drop --method")
    return load_ablation(name)


def _requests(request: Any, ablation: Any) -> list[tuple[str, Any]]:
    """The run itself, or one per variant of an ablation, with its label."""
    if ablation is None:
        return [("", request)]
    return [(v.label, ablation.request(v, request)) for v in ablation.variants]


def _request_of(path: Path, device: str, store: Path) -> Any:
    """The request that repeats a stored cell."""
    from varbench.pipeline.plan import Request

    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
        known = [cell[name] for name in ("model", "method", "suite", "erased")]
        overrides, seed = cell["overrides"], cell["seed"]
        if not all(isinstance(text, str) for text in (*known, *overrides)):
            raise TypeError("names and overrides must be text")
        if not isinstance(seed, int):
            raise TypeError(f"seed {seed!r} is no number")
        model, method, suite, concept = known
        if cell["concept_file"] is not None:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+_-]*", concept):
                raise ValueError(f"{concept!r} cannot name a concept")  # nor a file, elsewhere
            kept = store / "concepts" / f"{concept}.yaml"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(cell["concept_file"], encoding="utf-8")
            concept = str(kept)
        return Request(model, (method,), (concept,), suite, (seed,), tuple(overrides), device)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a cell.json of varbench: {error}") from error


def _show(request: Any) -> None:
    from omegaconf import OmegaConf

    from varbench.conf.schema import plain
    from varbench.pipeline.plan import plan

    for cell in plan(request):
        typer.echo(f"# {cell.command}")
        typer.echo(OmegaConf.to_yaml(OmegaConf.create(plain(cell.config))))


def _warn_of_plugins(*kinds: str) -> None:
    from varbench.cli.listing import problems

    for problem in problems(*kinds):
        typer.echo(f"warning: {problem}", err=True)


def _check(requests: list[tuple[str, Any]]) -> None:
    """Refuse bad input before torch and the networks are loaded; warn of numbers without sense."""
    from varbench.pipeline.compatibility import misfits
    from varbench.pipeline.plan import plan

    told: list[str] = []
    for _, one in requests:
        cells = plan(one)
        told += misfits(cells[0].config.model, [cell.concept for cell in cells])
    for warning in dict.fromkeys(told):
        typer.echo(f"warning: {warning}", err=True)


@app.command("run")
@_on_a_run
def run(
    request: Any,
    store: Path,
    ablation: Any,
    *,
    max_failed: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of a group's images that may fail.")
    ] = LIMIT,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make all failed images of the store again.")
    ] = False,
) -> None:
    """Erase, generate, score, record; then print the table. The same command resumes."""
    from rich.console import Console

    from varbench.store import Store
    from varbench.utils.progress import Progress

    _check(_requests(request, ablation))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    _warn_of_plugins()

    from varbench.conf.engine import RAY
    from varbench.pipeline import run as bench
    from varbench.pipeline.context import RunContext
    from varbench.pipeline.provenance import commit, versions
    from varbench.report import Filters, load_records, render
    from varbench.report.ablation_table import render as render_ablation
    from varbench.store.run_log import kept
    from varbench.utils.devices import pick_device

    device = pick_device(request.device)
    origin = versions()["varbench"], commit()
    with kept(Store(store).root, shlex.join(sys.argv), device, *origin) as journal:
        progress = Progress(Console(stderr=True), journal)
        ctx = RunContext(Store(store), progress, device, max_failed)
        if retry_failed:
            typer.echo(f"{forget(ctx.store)} entries with failed images removed", err=True)
        if request.engine.name == RAY:
            from varbench.pipeline.engines.ray import prepare

            for _, one in _requests(request, ablation):
                prepare(one, ctx)
        if ablation is not None:
            bench.run_ablation(ablation, request, ctx)
            typer.echo(render_ablation(ctx.store, ablation.name, "table"), nl=False)
            return
        done = [entry.json("cell.json") for entry in bench.run(request, ctx)]
    concepts = tuple(dict.fromkeys(cell["concept"] for cell in done))
    shown = Filters((request.model,), request.methods, concepts, (request.suite,))
    typer.echo(render(load_records(ctx.store, shown), "table"))


@app.command("plan")
@_on_a_run
def plan(
    request: Any,
    store: Path,
    ablation: Any,
    *,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Time a few images and steps.",
            show_default="the Gallery only",
        ),
    ] = None,
) -> None:
    """What a run would do, what it would find done, and the time, disk and memory it needs."""
    asked = _requests(request, ablation)
    _check(asked)
    _warn_of_plugins()
    from varbench.pipeline.estimate.text import run_estimate_text

    for label, one in asked:
        typer.echo(f"\n# {label}\n" * bool(label) + run_estimate_text(one, store, probe))


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Without one: what there is.")
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Take the files from this folder or file.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for fetched files.", envvar="VARBENCH_DATA", show_default=False),
    ] = None,
) -> None:
    """Prompt sets and networks published by others: download, check, and keep them."""
    with user_errors():
        from rich.console import Console

        from varbench.data.published.data_folder import data_folder
        from varbench.data.published.fetch import by_name, notice
        from varbench.data.published.fetch import fetch as get
        from varbench.data.published.listing import listing, where
        from varbench.utils.progress import Progress

        folder = data or data_folder()
        if not names:
            typer.echo(listing(folder))
        for one in [by_name(name) for name in names or ()]:
            typer.echo(notice(one), err=True)
            summary = get(one, folder, from_, Progress(Console(stderr=True)))
            typer.echo(f"{one.name}: {summary}: {where(one, folder)[0]}")


@app.command("list")
def list_(kind: Annotated[str, typer.Argument(help=", ".join(KINDS))]) -> None:
    """What there is."""
    with user_errors():
        if kind not in KINDS:
            raise unknown("list", kind, KINDS)
        from varbench.cli.listing import catalogue

        typer.echo(catalogue(kind))
        _warn_of_plugins(kind)


def main() -> None:
    """Entry point of the ``varbench`` command."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        sys.exit(130)
