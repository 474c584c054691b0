"""Parts of `pipeline.py` that compare with the networks alone: overhead of a run, and scoring."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from varbench.methods.registry import load_method
from varbench.metrics import METRICS
from varbench.models.infinity.model import InfinityModel
from varbench.pipeline import run
from varbench.pipeline.context import RunContext
from varbench.pipeline.graph import tasks_of_cell
from varbench.pipeline.plan import Request, plan
from varbench.pipeline.stages import attack
from varbench.scoring.evaluator import Evaluator, ScorerPool
from varbench.store import Entry, Store

CONCEPT = "face-ada"
GROUPS = ("target", "neighbours", "unrelated")
MODEL_CALLS = ("encode", "generate", "complete", "decode", "logits")


@dataclass(frozen=True)
class Table:
    """The measurements of a part."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def run_context(folder: Path) -> RunContext:
    """A place of work without progress lines."""
    return RunContext(Store(folder))


def request(method: str, *overrides: str, suite: str = "smoke") -> Request:
    """A run of one method on one concept."""
    return Request("gallery", (method,), (CONCEPT,), suite, (0,), overrides)


def peak_memory() -> float:
    """GB of 10^9 bytes that this process took at most, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


@dataclass
class Clock:
    """Seconds inside some calls, each call counted under one name and never twice."""

    spent: dict[str, float] = field(default_factory=dict)
    _inside: bool = False

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Count what happens inside, unless it is counted already."""
        if self._inside:
            yield
            return
        self._inside, began = True, time.perf_counter()
        try:
            yield
        finally:
            self._inside = False
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - began

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, counted."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.running(name):
                return call(*args, **kwargs)

        return counted


@contextmanager
def counted(clock: Clock, method: str) -> Iterator[None]:
    """All calls of networks, counted: training, the model's own, attacks and scorers."""
    places: list[tuple[str, Any, str]] = [
        ("training", type(load_method(method)), "erase"),
        ("attack", attack, "find_soft_prompt"),
        *(("generating and probing", InfinityModel, name) for name in MODEL_CALLS),
    ]
    scorers = Evaluator(plan(request("none"))[0].concept, (), METRICS, ScorerPool()).scorers
    places += [("scorers", type(one), "score") for one in scorers.values()]
    with ExitStack() as stack:
        for name, owner, attribute in places:
            call = getattr(owner, attribute)
            stack.enter_context(mock.patch.object(owner, attribute, clock.around(name, call)))
        yield


def overhead(folder: Path, scale: float) -> list[Table]:
    """A whole run of S-VARE on an empty store, over the time inside networks."""
    steps = max(2, round(200 * scale))
    asked = request("svare", f"method.train.steps={steps}")
    ctx, clock = run_context(folder), Clock()
    for cell in plan(asked):
        ctx.model(cell)
    with counted(clock, "svare"):
        began = time.perf_counter()
        run.run(asked, ctx)
        wall = time.perf_counter() - began
    inside = sum(clock.spent.values())
    rows: list[tuple[Any, ...]] = [
        (name, f"{seconds:.1f}", f"{seconds / inside:.3f}") for name, seconds in clock.spent.items()
    ]
    rows += [("all networks", f"{inside:.1f}", "1"), ("the run", f"{wall:.1f}", wall / inside)]
    title = f"varbench run --method svare, {steps} steps, suite smoke"
    return [Table(title, ("", "wall s", "over networks"), rows)]


def scoring(folder: Path, scale: float) -> list[Table]:
    """Each scorer on batches as the pipeline calls it, and one image at a time."""
    seeds = (f"suite.groups.{name}.seeds={max(1, round(4 * scale))}" for name in GROUPS)
    few = "suite.metrics=[erasure_rate,fid_base,clip_score]", "suite.robustness.prompts=0"
    asked = request("none", *seeds, *few)
    ctx = run_context(folder)
    run.run(asked, ctx)
    cell = plan(asked)[0]
    outputs = tasks_of_cell(ctx, cell).outputs(ctx)
    todo = [
        (images, [sample.prompt.text for sample in samples])
        for group in outputs.stored.values()
        for samples, images, _ in group.batches
    ]
    rows = []
    for role, who in ctx.evaluator(cell).scorers.items():
        one, block = _alternately(who, todo)
        images = sum(len(prompts) for _, prompts in todo)
        rows.append((role, f"{images / one:.0f}", f"{images / block:.0f}", one / block))
    columns = ("scorer", "loop, images / s", "blocks, images / s", "ratio")
    return [Table(f"{sum(len(p) for _, p in todo)} images of 64 x 64", columns, rows)]


def strict(folder: Path, scale: float) -> list[Table]:
    """Images and scores of the base model in strict mode, over those as usual."""
    seeds = (f"suite.groups.{name}.seeds={max(1, round(4 * scale))}" for name in GROUPS)
    few = "suite.metrics=[erasure_rate,fid_base,clip_score]", "suite.robustness.prompts=0"
    asked = (*seeds, *few, "suite.probe.prompts=0")
    spent: dict[str, list[float]] = {"false": [], "true": []}
    for turn in range(3):
        for mode, seconds in spent.items():
            one = request("none", *asked, f"model.strict={mode}")
            ctx = run_context(folder / f"{mode}{turn}")
            ctx.model(plan(one)[0])
            began = time.process_time()
            run.run(one, ctx)
            seconds.append(time.process_time() - began)
    usual, singly = (median(seconds) for seconds in spent.values())
    rows: list[tuple[Any, ...]] = [("usual", usual, 1.0), ("strict", singly, singly / usual)]
    return [Table("the base model", ("mode", "processor s", "over usual"), rows)]


def _alternately(who: Any, todo: list[tuple[Entry, list[str]]]) -> tuple[float, float]:
    """Processor seconds of all images, singly and in blocks: medians of three turns."""
    singly, together = [], []
    for _ in range(3):
        one = block = 0.0
        for entry, prompts in todo:
            files = [entry.path(f"{i:03d}.png") for i in range(len(prompts))]
            began = time.process_time()
            for file, prompt in zip(files, prompts, strict=True):
                who.score([file], [prompt])
            middle = time.process_time()
            who.score(files, prompts)
            one, block = one + middle - began, block + time.process_time() - middle
        singly.append(one)
        together.append(block)
    return median(singly), median(together)
