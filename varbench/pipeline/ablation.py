"""Ablations: named lists of variants of a run, each a YAML file in ``conf/ablation/``.

    name: alpha
    title: Share of wrong bits from which a token is trained
    concepts: [face-ada]           # erased where the command line names none
    suite: smoke
    metrics: [erasure_rate, acc_n] # columns of the table
    reported:                      # what a paper printed, beside ours and never mixed with it
      source: Zhong et al. 2026, ablation of alpha
      note: another model, other concepts; second-hand
      columns: [ASR, FID]
    variants:
      - {label: no filter, method: svare, set: [method.alpha=0], reported: ["7.2", "33.6"]}
      - {label: five at once, method: svare, concepts: [face-ada+church]}

A variant's ``set`` has the overrides of ``varbench run``; a ``reported`` entry of "" is a figure
that the source does not give. A user's own file works like the packaged ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from varbench.data.prompt_sets import is_path
from varbench.data.yaml_files import Field, read_yaml
from varbench.errors import UserError, unknown
from varbench.pipeline.plan import Request
from varbench.utils.files import packaged

_FOLDER = packaged("conf/ablation")


class AblationError(UserError, ValueError):
    """An ablation is unknown or its file malformed; the message names file, line and fix."""


@dataclass(frozen=True)
class Variant:
    """One row of an ablation.

    Attributes:
        label: name of the row.
        method: name of the method.
        overrides: ``KEY=VALUE``.
        concepts: what is erased instead of the ablation's concepts; empty = those.
        reported: the paper's figures, one per reported column, or none at all.
    """

    label: str
    method: str
    overrides: tuple[str, ...]
    concepts: tuple[str, ...]
    reported: tuple[str, ...]


@dataclass(frozen=True)
class Reported:
    """Where printed figures come from, and the names of their columns."""

    source: str
    note: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Ablation:
    """A named list of variants; the fields are those of the file (see above)."""

    name: str
    title: str
    concepts: tuple[str, ...]
    suite: str
    metrics: tuple[str, ...]
    variants: tuple[Variant, ...]
    reported: Reported | None

    def request(self, variant: Variant, common: Request) -> Request:
        """The run of a variant; ``common`` has model, concepts, seeds, device and engine."""
        return Request(
            model=common.model,
            methods=(variant.method,),
            concepts=variant.concepts or common.concepts or self.concepts,
            suite=common.suite or self.suite,
            seeds=common.seeds,
            overrides=(*variant.overrides, *common.overrides),
            device=common.device,
            engine=common.engine,
        )


def list_ablations() -> list[str]:
    """Names of the packaged ablations, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_ablation(name_or_path: str | os.PathLike[str]) -> Ablation:
    """Read and check an ablation, by name or as a path of a YAML file.

    Raises:
        AblationError: the file cannot be read, or is malformed.
        UserError: there is no packaged ablation of that name.
    """
    if is_path(name_or_path, ".yaml", ".yml"):
        return _read(read_yaml(Path(name_or_path), "the ablation", AblationError))
    if name_or_path not in list_ablations():
        raise unknown("ablation", str(name_or_path), list_ablations())
    return _read(read_yaml(_FOLDER / f"{name_or_path}.yaml", "the ablation", AblationError))


def _read(root: Field) -> Ablation:
    required = ("name", "title", "concepts", "suite", "metrics", "variants")
    keys = root.keys(required, ("reported",))
    reported = _read_reported(keys["reported"]) if "reported" in keys else None
    variants = tuple(_read_variant(item, reported) for item in keys["variants"].items())
    labels = [variant.label for variant in variants]
    for item, label in zip(keys["variants"].items(), labels, strict=True):
        if labels.count(label) > 1:
            item.fail(f"two variants are called {label!r}; rename one")
    return Ablation(
        name=keys["name"].text(),
        title=keys["title"].text(),
        concepts=keys["concepts"].texts(),
        suite=keys["suite"].text(),
        metrics=keys["metrics"].texts(),
        variants=variants,
        reported=reported,
    )


def _read_reported(block: Field) -> Reported:
    keys = block.keys(("source", "note", "columns"))
    return Reported(keys["source"].text(), keys["note"].text(), keys["columns"].texts())


def _read_variant(block: Field, reported: Reported | None) -> Variant:
    keys = block.keys(("label", "method"), ("set", "concepts", "reported"))
    figures: tuple[str, ...] = ()
    if "reported" in keys:
        figures = tuple(item.text(empty=True) for item in keys["reported"].items())
        expected = 0 if reported is None else len(reported.columns)
        if len(figures) != expected:
            keys["reported"].fail(f'{len(figures)} figures for {expected} columns; use "" for gaps')
    overrides = keys["set"].texts() if "set" in keys else ()
    for item, text in zip(keys["set"].items() if "set" in keys else (), overrides, strict=True):
        if "=" not in text:
            item.fail(f"{text!r} must have the form KEY=VALUE")
    return Variant(
        keys["label"].text(),
        keys["method"].text(),
        overrides,
        keys["concepts"].texts() if "concepts" in keys else (),
        figures,
    )
