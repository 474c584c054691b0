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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from varbench.conf.compose import names
from varbench.data.prompt_sets import is_path
from varbench.data.yaml_files import AT_LEAST_ONE, Text, Texts, read_yaml, strict
from varbench.errors import UserError, unknown
from varbench.pipeline.plan import Request
from varbench.utils.files import packaged


@strict
@dataclass(frozen=True)
class Variant:
    """One row of an ablation.

    Attributes:
        concepts: what is erased instead of the ablation's concepts; empty = those.
        reported: the paper's figures, one per reported column, or none at all.
    """

    label: Text
    method: Text
    overrides: Annotated[Texts, Field(alias="set")] = ()
    concepts: Texts = ()
    reported: Annotated[tuple[str, ...], AT_LEAST_ONE] = ()


@strict
@dataclass(frozen=True)
class Reported:
    """Source of printed figures, and the names of their columns."""

    source: Text
    note: Text
    columns: Texts


@strict
@dataclass(frozen=True)
class Ablation:
    """A named list of variants; the fields are those of the file (see above)."""

    name: Text
    title: Text
    concepts: Texts
    suite: Text
    metrics: Texts
    variants: Annotated[tuple[Variant, ...], AT_LEAST_ONE]
    reported: Reported | None = None

    def request(self, variant: Variant, common: Request) -> Request:
        """The run of a variant: `common` with its method, and with its concepts if it has any."""
        return replace(
            common,
            methods=(variant.method,),
            concepts=variant.concepts or common.concepts or self.concepts,
            suite=common.suite or self.suite,
            overrides=(*variant.overrides, *common.overrides),
        )


def load_ablation(name_or_path: str | os.PathLike[str]) -> Ablation:
    """Read and check an ablation, by name or as a path of a YAML file.

    Raises:
        UserError: there is no packaged ablation of that name, or the file cannot be read or is
            malformed; names file, line and fix.
    """
    if is_path(name_or_path, ".yaml", ".yml"):
        path = Path(name_or_path)
    elif name_or_path in names("ablation"):
        path = packaged("conf/ablation") / f"{name_or_path}.yaml"
    else:
        raise unknown("ablation", str(name_or_path), names("ablation"))
    document = read_yaml(path, "the ablation", UserError)
    ablation = document.read(Ablation)
    columns = len(ablation.reported.columns) if ablation.reported else 0
    labels = [variant.label for variant in ablation.variants]
    for index, variant in enumerate(ablation.variants):
        at = ("variants", index)
        if labels.count(variant.label) > 1:
            document.fail(f"two variants are called {variant.label!r}; rename one", *at)
        if variant.reported and len(variant.reported) != columns:
            problem = f'{len(variant.reported)} figures for {columns} columns; use "" for gaps'
            document.fail(problem, *at, "reported")
        for number, text in enumerate(variant.overrides):
            if "=" not in text:
                document.fail(f"{text!r} must have the form KEY=VALUE", *at, "set", number)
    return ablation
