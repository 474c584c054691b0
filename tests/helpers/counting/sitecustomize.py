"""Counts how often each entry is computed, in every process of a run.

With this folder on the PYTHONPATH every Python process imports this file at its start, and then
appends a line to the file that ``COUNTED`` names whenever the computation of an entry begins.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

WATCHED = "varbench.store.cached"


class Counting(MetaPathFinder):
    """Finds `WATCHED` as usual, and wraps its `cached`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == WATCHED else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            module.__dict__["cached"] = counted(module.__dict__["cached"])

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def counted(cached: Callable[..., Any]) -> Callable[..., Any]:
    """`cached`, which reports the stage and key of what it begins to compute."""

    def reporting(store: Any, stage: Any, spec: Any, compute: Any, *rest: Any, **more: Any) -> Any:
        from varbench.store import digest

        def report(writer: Any) -> None:
            with open(os.environ["COUNTED"], "a", encoding="utf-8") as file:
                file.write(f"{stage}/{digest(spec)}\n")
            compute(writer)

        return cached(store, stage, spec, report, *rest, **more)

    return reporting


if "COUNTED" in os.environ:
    sys.meta_path.insert(0, Counting())
