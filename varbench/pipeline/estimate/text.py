"""``varbench plan`` as text: the stages, the disk, and the memory against the device's."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from tabulate import tabulate

from varbench.errors import UserError
from varbench.metrics.base import ATTACK, PROBE
from varbench.models import registry
from varbench.models.registry import card
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.memory import (
    SPARE,
    MemoryEstimate,
    Training,
    TrainingEstimate,
    device_memory,
    footprint,
)
from varbench.pipeline.estimate.time import (
    rate_of,
    required_rates,
    seconds,
    stored_rates,
    timed_rates,
    units,
)
from varbench.pipeline.estimate.workload import StageWorkload, fine_tuning, run_estimate
from varbench.pipeline.plan import Cell, Request, plan
from varbench.pipeline.stages.edit import steers
from varbench.store import Store
from varbench.utils.devices import pick_device
from varbench.utils.progress import Progress

COUNTED = (
    f"Counted on tensors without bytes. The CUDA context, what kernels need inside themselves and\n"
    f"the allocator's gaps come on top: leave {SPARE:.0%}."
)


SMALL = (PROBE, ATTACK, "cell")
"""Stages that leave a few kilobytes."""


def run_estimate_text(request: Request, store: Path, probe: bool | None = None) -> str:
    """What a run would do, find done and need.

    Args:
        request: as of ``varbench run``.
        store: folder of results; need not exist.
        probe: whether to time what the store cannot tell; None: only an embedded model, for which
            that takes seconds.

    Raises:
        UserError: unknown names, keys or values, or no such device.
    """
    cells = plan(request)
    device = pick_device(request.device)
    ctx = RunContext(Store(store), Progress(Console(stderr=True)), device)
    config = cells[0].config
    trainings: list[Training] = []
    for cell in cells:
        training = fine_tuning(cell)
        if training is not None and training not in trainings:
            trainings.append(training)
    counted = footprint(config.model, config.suite.block, trainings)
    missing = _missing_weights(cells[0])
    seen = run_estimate(cells, ctx, not missing, counted)
    parts = [_head(cells), *missing, _stages(seen.stages), _disk(seen.stages, seen.scratch, store)]
    parts.append(_time(cells, ctx, seen.stages, not missing, probe))
    if counted is None:
        parts.append(f"memory: not counted, nobody tells the shapes of {config.model.name}")
    else:
        parts += [_generation(cells, counted), *_training(cells, trainings, counted)]
        parts += [COUNTED, _verdict(cells, trainings, counted, device)]
    return "\n\n".join(parts)


def _missing_weights(cell: Cell) -> list[str]:
    """A paragraph about the model's missing files, if any; nothing is fetched."""
    config, files = cell.config.model, []
    if config.name in registry.LOADERS:
        found = card(config)
        files = [f"{found.place}: {', '.join(found.missing)}"] if found.missing else []
    else:
        try:
            registry.fingerprint(config)
        except UserError as error:
            files = [str(error)]
    head = "weights missing, nothing can be looked up in the store (model.weights=DIR, or fetched"
    return [f"{head} by `varbench run`)\n{text}" for text in files]


def _head(cells: Sequence[Cell]) -> str:
    config = cells[0].config
    concepts = ", ".join(dict.fromkeys(cell.label for cell in cells))
    return f"{config.model.name} on suite {config.suite.name}, testing {concepts}"


def _stages(works: Sequence[StageWorkload]) -> str:
    rows = [
        [w.stage, w.required, "?" if w.cached is None else w.cached, w.todo, _size_of(w), w.parts]
        for w in works
    ]
    header = ["stage", "asked", "in store", "to do", "disk", ""]
    align = ("left", "right", "right", "right", "right", "left")
    return str(tabulate(rows, header, colalign=align, disable_numparse=True))


def _size_of(work: StageWorkload) -> str:
    if not work.todo or work.stage in SMALL:
        return ""
    if work.disk is None:
        return "?"
    return f"{'at most ' if work.bound else ''}{size(work.disk)}"


def size(amount: float) -> str:
    """Bytes for people, with three digits: 950 bytes, 12.4 MB, 36.5 GB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= unit:
            return f"{amount / unit:.3g} {name}"
    return f"{amount:.0f} bytes"


def _disk(works: Sequence[StageWorkload], scratch: int, store: Path) -> str:
    known = sum(work.disk or 0 for work in works)
    place = next(folder for folder in (store, *store.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    unknown = [work.stage for work in works if work.todo and _size_of(work) == "?"]
    enough = "" if known + scratch <= free else ", which is not enough"
    lines = [f"disk: {size(known)} to come, {size(free)} free at {store}{enough}"]
    if unknown:
        lines.append(f"not known before the first of their kind: {', '.join(unknown)}")
    if scratch:
        lines.append(f"while training {size(scratch)} more, for the checkpoint to resume from")
    return "\n".join(lines)


def _time(
    cells: Sequence[Cell],
    ctx: RunContext,
    works: Sequence[StageWorkload],
    weights_there: bool,
    probe: bool | None,
) -> str:
    """How long each stage will take."""
    if not weights_there:
        return "time: cannot be estimated, there are no weights to time"
    config = cells[0].config
    rates = stored_rates(cells, ctx)
    unknown = [one for one in required_rates(works) if one not in rates]
    if unknown and (config.model.embedded if probe is None else probe):
        rates |= timed_rates(cells, ctx, unknown)
    block, todo = config.suite.block, [work for work in works if work.todo]
    rows: list[list[str]] = []
    for work in todo:
        for by in work.loads:
            if rate := rate_of(work, by, rates):
                count = units(work, by, block)
                spent = duration(count * rate.seconds)
                each = f"{rate.seconds:.3g}"
                rows.append([work.stage, by, str(count), each, spent, rate.origin])
    total = sum(seconds(work, rates, block) or 0 for work in todo)
    without = [work.stage for work in todo if seconds(work, rates, block) is None]
    lines = [f"not known for {', '.join(without)}, nor for loading networks"] if without else []
    if rows:
        header = ["stage", "of", "units", "s each", "total", ""]
        align = ("left", "left", "right", "right", "right", "left")
        lines.insert(0, str(tabulate(rows, header, colalign=align, disable_numparse=True)))
        head = f"about {duration(total)}, an estimate; a block that is filled up counts in full"
        lines.insert(0, head)
    if unknown and probe is None and not config.model.embedded:
        lines.append(f"--probe times a few images and steps, once {config.model.name} is loaded")
    return "time: " + "\n".join(lines or ["none, everything is in the store"])


def duration(amount: float) -> str:
    """Seconds for people: 42 s, 7.5 min, 3.2 h, 2.4 days."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if amount >= 2 * unit:
            return f"{_two_digits(amount / unit)} {name}"
    return f"{_two_digits(amount)} s"


def _two_digits(number: float) -> str:
    """At least two, without an exponent: 0.034, 4.2, 42, 119."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def _table(title: str, rows: Sequence[tuple[str, int]]) -> str:
    """Parts and their bytes in GB (10^9), one per line."""
    width = max(len(name) for name, _ in rows)
    return "\n".join([title, *(f"  {name:<{width}}{size / 1e9:10.3f}" for name, size in rows)])


def _generation(cells: Sequence[Cell], counted: MemoryEstimate) -> str:
    found = counted.generation
    rows = [
        ("weights of the transformer", found.weights),
        ("other networks that stay", found.resident),
        ("text encoders, freed before sampling", found.text_encoder),
        ("sampling: keys, values, activations", found.sampling),
        ("decoding, after sampling", found.decoding),
        ("peak: the first two and the largest of the others", found.peak),
    ]
    title = f"memory of generating {counted.batch} images at once, GB"
    steering = ", ".join(dict.fromkeys(cell.method for cell in cells if steers(cell)))
    note = f"\nmore where {steering} runs other branches than prompt and null" if steering else ""
    return _table(title, rows) + note


def _training(
    cells: Sequence[Cell], trainings: Sequence[Training], counted: MemoryEstimate
) -> list[str]:
    parts = []
    for training in trainings:
        needs, names = counted.needs(training), _methods(cells, training)
        if isinstance(needs, str):
            parts.append(f"training by {names} is not possible: {needs}")
            continue
        title = f"memory of training by {names}, as S-VARE steps, {training.pairs} pairs, GB"
        memory = needs.memory
        rows = [
            (f.name.replace("_", " "), getattr(memory, f.name)) for f in dataclasses.fields(memory)
        ]
        parts.append(_table(title, [*rows, ("peak: the sum", memory.peak)]))
    return parts


def _methods(cells: Sequence[Cell], training: Training) -> str:
    return ", ".join(dict.fromkeys(c.method for c in cells if fine_tuning(c) == training))


def _verdict(
    cells: Sequence[Cell], trainings: Sequence[Training], counted: MemoryEstimate, device: str
) -> str:
    """Whether each peak, with something to spare, is less than the device has."""
    peaks = [("generating", counted.generation.peak)]
    for training in trainings:
        needs = counted.needs(training)
        if isinstance(needs, TrainingEstimate):
            peaks.append((f"training by {_methods(cells, training)}", needs.memory.peak))
    memory = device_memory(device)
    if memory is None:
        return f"device {device}: nobody tells how much memory it has"
    lines = [f"device {device} has {size(memory)}"]
    for name, peak in peaks:
        fits = peak * (1 + SPARE) <= memory
        lines.append(f"  {name}: {size(peak)} {'fits' if fits else 'does not fit'}")
    return "\n".join(lines)
