"""The commands ``run`` and ``plan``: from options to requests to the pipeline."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varbench.cli.catalog import warn_of_plugins
from varbench.cli.options import (
    DEFAULT_CONCEPT,
    DEFAULT_METHOD,
    DEFAULT_MODEL,
    DEFAULT_STORE,
    DEFAULT_SUITE,
    DeviceOption,
    ModelOption,
    StoreOption,
    shares,
    split_names,
    split_seeds,
    user_errors,
)
from varbench.cli.output import echo
from varbench.cli.results import results_table
from varbench.errors import UserError
from varbench.store.failures import LIMIT

if TYPE_CHECKING:
    from varbench.pipeline.plan import Request

app = typer.Typer()


def checked_requests(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. method.alpha=0.5"),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    method: Annotated[
        str | None,
        typer.Option(help="Methods, separated by commas.", show_default=DEFAULT_METHOD),
    ] = None,
    concept: Annotated[
        str | None,
        typer.Option(
            help="Concepts or YAML files, separated by commas; A+B erases both in one edit.",
            show_default=DEFAULT_CONCEPT,
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="What to measure.", show_default=DEFAULT_SUITE)
    ] = None,
    ablation: Annotated[
        str | None, typer.Option(help="Run all variants of this ablation instead of --method.")
    ] = None,
    seed: Annotated[str, typer.Option(help="Seeds of the edit, separated by commas.")] = "0",
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = "auto",
    from_: Annotated[
        Path | None, typer.Option("--from", help="Repeat a recorded cell (its cell.json).")
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the resolved configuration and stop.")
    ] = False,
) -> Any:
    """The run under an empty label, or every variant of an ablation by label; and the ablation.

    They are checked before torch and the networks are loaded; warnings are printed. With
    `show_config` the resolved configurations are printed, and the command ends.
    """
    from varbench.pipeline import launch
    from varbench.pipeline.ablation import load_ablation

    if ablation is not None and method is not None:
        raise UserError("--ablation has its own methods; drop --method")
    if suite == "":
        raise UserError("--suite needs a name")
    asked = (model, method, concept, suite, ablation, seed)
    if from_ is not None and asked != (DEFAULT_MODEL, None, None, None, None, "0"):
        raise UserError("--from repeats a cell as it is: drop --model to --seed")
    variants = None if ablation is None else load_ablation(ablation)
    if variants is None:
        method = DEFAULT_METHOD if method is None else method
        concept = DEFAULT_CONCEPT if concept is None else concept
        suite = DEFAULT_SUITE if suite is None else suite
    common = launch.make_request(
        model,
        () if method is None else split_names(method, "--method"),
        () if concept is None else split_names(concept, "--concept"),
        suite or "",
        split_seeds(seed),
        overrides or (),
        device,
    )
    if from_ is not None:
        common = replace(_request_of_cell(from_, common, store), engine=common.engine)
    requests = {"": common}
    if variants is not None:
        launch.check_metrics(variants.metrics)
        requests = {v.label: variants.request(v, common) for v in variants.variants}
    for warning in launch.check([*requests.values()]):
        echo(f"warning: {warning}", err=True)
    if show_config:
        _print_config(requests.values())
        raise typer.Exit
    warn_of_plugins()
    return requests, variants


@app.command("run")
@shares("asked", checked_requests)
def run(
    asked: Any = None,
    store: StoreOption = DEFAULT_STORE,
    max_failed: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Largest share of a group's images that may fail."),
    ] = LIMIT,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make all failed images of the store again.")
    ] = False,
) -> None:
    """Erase, generate, score, record; then print the table. The same command resumes."""
    with user_errors():
        requests, variants = asked
        from rich.console import Console

        from varbench.pipeline import launch
        from varbench.pipeline import run as pipeline
        from varbench.report.ablation_table import render_run

        with launch.session(
            [*requests.values()],
            store,
            shlex.join(sys.argv),
            Console(stderr=True),
            max_failed=max_failed,
            retry_failed=retry_failed,
        ) as ctx:
            if variants is None:
                table = results_table(ctx.store, pipeline.run(requests[""], ctx))
            else:
                ran = pipeline.run_ablation(variants, [*requests.values()], ctx)
                table = render_run(ctx.store, ran, "table")
        echo(table, nl=False)


@app.command("plan")
@shares("asked", checked_requests)
def plan(
    asked: Any = None,
    store: StoreOption = DEFAULT_STORE,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Time a few images and steps.",
            show_default="the Gallery only",
        ),
    ] = None,
) -> None:
    """Show what a run would do, what is cached, and the time, disk and memory it needs."""
    with user_errors():
        from varbench.pipeline.estimate.text import run_estimate_text

        for label, request in asked[0].items():
            heading = f"\n# {label}\n" if label else ""
            echo(heading + run_estimate_text(request, store, probe))


def _print_config(requests: Iterable[Request]) -> None:
    """Print the command and the resolved configuration of every cell."""
    from omegaconf import OmegaConf

    from varbench.conf.schema import plain
    from varbench.pipeline.plan import plan

    for request in requests:
        for cell in plan(request):
            echo(f"# {cell.command}")
            echo(OmegaConf.to_yaml(OmegaConf.create(plain(cell.config))))


def _request_of_cell(path: Path, given: Request, store: Path) -> Request:
    """The request that repeats a recorded cell, on the given device, with the given overrides.

    It may be a stranger's, so paths that it names elsewhere are shown before they are read.
    """
    from varbench.conf.overrides import path_of
    from varbench.data import own_files
    from varbench.pipeline.launch import make_request

    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
        names = [cell[key] for key in ("model", "method", "suite", "erased")]
        overrides, seed = cell["overrides"], cell["seed"]
        if not all(isinstance(text, str) for text in (*names, *overrides)):
            raise TypeError("names and overrides must be text")
        if type(seed) is not int:
            raise TypeError(f"seed {seed!r} is not a number")
        model, method, suite, concept = names
        named: list[str] = []
        if cell["concept_file"] is not None:
            concept = str(own_files.restore(cell, concept, path.parent, store / "concepts"))
            named += map(os.path.expanduser, own_files.own_sets(Path(concept)))
        request = make_request(model, method, concept, suite, seed, overrides, given.device)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a cell.json of varbench: {error}") from error
    named += [str(file) for file in map(path_of, request.overrides) if file is not None]
    for file in named:
        if os.path.isabs(file) and not Path(file).is_relative_to(path.parent.resolve()):
            echo(f"warning: {path} names a path outside of its folder: {file}", err=True)
    return replace(request, overrides=(*request.overrides, *given.overrides))
