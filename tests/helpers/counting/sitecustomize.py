"""Counts how often images are made, in every process of a run, for tests of the Ray engine.

With this folder on the PYTHONPATH every Python process imports this file at its start, and then
appends a line to the file that ``COUNTED`` names whenever a block of images is begun.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

WATCHED = "varbench.pipeline.stages.generate"


class Counting(MetaPathFinder):
    """Finds `WATCHED` as everybody does, and wraps its `draw`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == WATCHED else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            module.__dict__["draw"] = counted(module.__dict__["draw"], module.__dict__["digest"])

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def counted(draw: Callable[..., Any], digest: Callable[[object], str]) -> Callable[..., Any]:
    """`draw`, which tells the stage and key of what it begins to make."""

    def told(ctx: Any, cell: Any, stage: str, spec: Any, *rest: Any) -> Any:
        def make() -> Any:
            with open(os.environ["COUNTED"], "a", encoding="utf-8") as file:
                file.write(f"{stage}/{digest(spec)}\n")
            return rest[-1]()

        return draw(ctx, cell, stage, spec, *rest[:-1], make)

    return told


if "COUNTED" in os.environ:
    sys.meta_path.insert(0, Counting())
