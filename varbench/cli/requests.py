"""From the options that ``run`` and ``plan`` share to checked requests."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

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


@dataclass(frozen=True)
class Job:
    """The requests that the shared options state.

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

        self.check()
        for request in self.requests.values():
            for cell in cells_of(request):
                typer.echo(f"# {cell.command}")
                typer.echo(OmegaConf.to_yaml(OmegaConf.create(plain(cell.config))))


def job_of(
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
) -> Job:
    """The job of these options; see the commands for their meaning.

    Raises:
        UserError: an option is malformed or unknown, or two exclude each other.
    """
    from varbench.pipeline.ablation import load_ablation
    from varbench.pipeline.launch import check_metrics, make_request

    if ablation is not None and method is not None:
        raise UserError("--ablation has its own methods; drop --method")
    if suite == "":
        raise UserError("--suite needs a name")
    variants = None if ablation is None else load_ablation(ablation)
    defaults = (DEFAULT_METHOD, DEFAULT_CONCEPT, DEFAULT_SUITE)
    default_method, default_concept, default_suite = defaults if variants is None else ("", "", "")
    common = make_request(
        model,
        _names(method, "--method", default_method),
        _names(concept, "--concept", default_concept),
        default_suite if suite is None else suite,
        split_seeds(seed),
        overrides or (),
        device,
    )
    if cell is not None:
        common = replace(_request_of(cell, device, store), engine=common.engine)
    if variants is None:
        return Job({"": common}, common, None)
    check_metrics(variants.metrics)
    requests = {v.label: variants.request(v, common) for v in variants.variants}
    return Job(requests, common, variants)


def _names(text: str | None, option: str, default: str) -> tuple[str, ...]:
    if text is None:
        return (default,) if default else ()
    return split_names(text, option)


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
