"""From the options that ``run`` and ``plan`` share to checked requests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from varbench.cli.catalog import warn_of_plugins
from varbench.cli.options import (
    DEFAULT_CONCEPT,
    DEFAULT_METHOD,
    DEFAULT_SUITE,
    split_names,
    split_seeds,
)
from varbench.errors import UserError

if TYPE_CHECKING:
    from varbench.pipeline.ablation import Ablation
    from varbench.pipeline.plan import Request


def checked_requests(
    overrides: list[str] | None,
    model: str,
    method: str | None,
    concept: str | None,
    suite: str | None,
    ablation: str | None,
    seed: str,
    store: Path,
    device: str,
    cell: Path | None,
    show_config: bool,
) -> tuple[dict[str, Request], Ablation | None]:
    """The runs that these options state, checked before torch and the networks are loaded.

    Warnings are printed. With `show_config` the resolved configurations are, and the command ends.

    Returns:
        The run with an empty label, or every variant of the ablation by label; and the ablation.

    Raises:
        UserError: an option is malformed or unknown, or two exclude each other.
    """
    from varbench.pipeline import launch
    from varbench.pipeline.ablation import load_ablation

    if ablation is not None and method is not None:
        raise UserError("--ablation has its own methods; drop --method")
    if suite == "":
        raise UserError("--suite needs a name")
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
    if cell is not None:
        common = replace(_request_of(cell, device, store), engine=common.engine)
    requests = {"": common}
    if variants is not None:
        launch.check_metrics(variants.metrics)
        requests = {v.label: variants.request(v, common) for v in variants.variants}
    for warning in launch.check([*requests.values()]):
        typer.echo(f"warning: {warning}", err=True)
    if show_config:
        _print_config(requests.values())
        raise typer.Exit
    warn_of_plugins()
    return requests, variants


def _print_config(requests: Iterable[Request]) -> None:
    """Print the command and the resolved configuration of every cell."""
    from omegaconf import OmegaConf

    from varbench.conf.schema import plain
    from varbench.pipeline.plan import plan

    for request in requests:
        for cell in plan(request):
            typer.echo(f"# {cell.command}")
            typer.echo(OmegaConf.to_yaml(OmegaConf.create(plain(cell.config))))


def _request_of(path: Path, device: str, store: Path) -> Request:
    """The request that repeats a recorded cell."""
    from varbench.pipeline.plan import Request

    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
        names = [cell[key] for key in ("model", "method", "suite", "erased")]
        overrides, seed = cell["overrides"], cell["seed"]
        if not all(isinstance(text, str) for text in (*names, *overrides)):
            raise TypeError("names and overrides must be text")
        if not isinstance(seed, int):
            raise TypeError(f"seed {seed!r} is not a number")
        model, method, suite, concept = names
        if cell["concept_file"] is not None:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+_-]*", concept):
                raise ValueError(f"{concept!r} cannot name a concept")  # nor escape the folder
            file = store / "concepts" / f"{concept}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(cell["concept_file"], encoding="utf-8")
            concept = str(file)
        return Request(model, (method,), (concept,), suite, (seed,), tuple(overrides), device)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a cell.json of varbench: {error}") from error
