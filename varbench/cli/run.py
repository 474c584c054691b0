"""The commands ``run`` and ``plan``: from options to requests to the pipeline."""

from __future__ import annotations

import json
import logging
import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    split_names,
    split_seeds,
    user_errors,
)
from varbench.errors import UserError
from varbench.store.failures import LIMIT

if TYPE_CHECKING:
    from varbench.pipeline.ablation import Ablation
    from varbench.pipeline.plan import Request

app = typer.Typer()

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. method.alpha=0.5"),
]
Methods = Annotated[
    str | None,
    typer.Option("--method", help="Methods, separated by commas.", show_default=DEFAULT_METHOD),
]
Concepts = Annotated[
    str | None,
    typer.Option(
        "--concept",
        help="Concepts or YAML files, separated by commas; A+B erases both in one edit.",
        show_default=DEFAULT_CONCEPT,
    ),
]
Suite = Annotated[
    str | None, typer.Option("--suite", help="What to measure.", show_default=DEFAULT_SUITE)
]
AblationName = Annotated[
    str | None,
    typer.Option("--ablation", help="Run all variants of this ablation instead of --method."),
]
Seeds = Annotated[
    str, typer.Option("--seed", help="Seeds of the edit, separated by commas.")
]
FromCell = Annotated[
    Path | None, typer.Option("--from", help="Repeat a recorded cell (its cell.json).")
]
ShowConfig = Annotated[
    bool, typer.Option("--show-config", help="Print the resolved configuration and stop.")
]


@dataclass(frozen=True)
class _Job:
    """What the shared options ask for.

    Attributes:
        requests: the run itself with an empty label, or every variant of the ablation by label.
        common: the request; of an ablation only what its variants share.
    """

    requests: dict[str, Request]
    common: Request
    ablation: Ablation | None

    def check(self) -> None:
        """Refuse bad input before torch and the networks are loaded; print warnings."""
        from varbench.pipeline import launch

        for warning in launch.check([*self.requests.values()]):
            typer.echo(f"warning: {warning}", err=True)

    def show_config(self) -> None:
        """Print the command and the resolved configuration of every cell."""
        from omegaconf import OmegaConf

        from varbench.conf.schema import plain
        from varbench.pipeline.plan import plan as cells_of

        for request in self.requests.values():
            for cell in cells_of(request):
                typer.echo(f"# {cell.command}")
                typer.echo(OmegaConf.to_yaml(OmegaConf.create(plain(cell.config))))


def _job(
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
) -> _Job:
    from varbench.pipeline.ablation import load_ablation
    from varbench.pipeline.launch import make_request

    if suite == "":
        raise UserError("--suite needs a name")
    if ablation is not None and method is not None:
        raise UserError("--ablation has its own methods; drop --method")
    variants = None if ablation is None else load_ablation(ablation)
    if variants is None:
        method, concept = method or _unless_empty(method, DEFAULT_METHOD), concept
    common = make_request(
        model,
        () if variants else split_names(DEFAULT_METHOD if method is None else method, "--method"),
        _concepts(concept, () if variants else (DEFAULT_CONCEPT,)),
        suite or ("" if variants else DEFAULT_SUITE),
        split_seeds(seed),
        overrides or (),
        device,
    )
    if cell is not None:
        common = replace(_request_of(cell, device, store), engine=common.engine)
    if variants is None:
        return _Job({"": common}, common, None)
    return _Job({v.label: variants.request(v, common) for v in variants.variants}, common, variants)
