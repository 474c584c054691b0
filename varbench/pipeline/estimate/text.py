"""Text of ``varbench plan``: stages, disk, time, and memory compared with the device's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from tabulate import tabulate

from varbench.errors import UserError
from varbench.models import registry
from varbench.models.weights.locate import find, place
from varbench.models.weights.released import ReleasedConfig
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.memory import (
    SPARE,
    MemoryEstimate,
    device_memory,
    memory_estimate,
)
from varbench.pipeline.estimate.time import required_rates, seconds, stored_rates, timed_rates
from varbench.pipeline.estimate.workload import StageWorkload, fine_tuning, run_workload
from varbench.pipeline.plan import Cell, Request, plan
from varbench.store import Stage, Store
from varbench.utils.devices import pick_device
from varbench.utils.progress import Progress
from varbench.utils.text import duration, size


def run_estimate_text(request: Request, store: Path, probe: bool | None = None) -> str:
    """Work, disk, time and memory of a run.

    Args:
        request: as of ``varbench run``.
        store: folder of results; need not exist.
        probe: True times what the store has no figures for; None does so for an embedded model
            only, which takes seconds.

    Raises:
        UserError: unknown names, keys or values, or no such device.
    """
    cells = plan(request)
    device = pick_device(request.device)
    ctx = RunContext(Store(store), Progress(Console(stderr=True)), device)
    config = cells[0].config
    trainings = dict.fromkeys(filter(None, map(fine_tuning, cells)))
    memory = memory_estimate(config.model, config.suite.block, trainings)
    missing = _missing_weights(cells[0])
    works = run_workload(cells, ctx, memory)
    concepts = ", ".join(dict.fromkeys(cell.label for cell in cells))
    parts = [
        f"{config.model.name} on suite {config.suite.name}, testing {concepts}",
        *missing,
        _stages(works),
        _disk(works, store),
        "time: unknown, as there are no weights to time"
        if missing
        else _time(cells, ctx, works, probe),
    ]
    if memory is None:
        parts.append(f"memory: unknown, as {config.model.name} offers no model of fake tensors")
    else:
        parts += _memory(cells, memory, device)
    return "\n\n".join(parts)


def _missing_weights(cell: Cell) -> list[str]:
    """Name the model's missing files, if any; nothing is fetched."""
    config, missing = cell.config.model, ""
    if isinstance(config, ReleasedConfig):
        files = [f"{p.source.repository}/{name}" for p in find(config) for name in p.missing]
        missing = f"{place(config)}: {', '.join(files)}" if files else ""
    else:
        try:
            registry.fingerprint(config)
        except UserError as error:
            missing = str(error)
    head = "weights missing, so the store cannot be searched "
    head += "(set model.weights=DIR, or let `varbench run` fetch them)"
    return [f"{head}\n{missing}"] if missing else []


def _stages(workloads: Sequence[StageWorkload]) -> str:
    rows = [
        [w.stage, w.required, "?" if w.cached is None else w.cached, w.todo, _size_of(w), w.parts]
        for w in workloads
    ]
    header = ["stage", "required", "cached", "to do", "disk", ""]
    align = ("left", "right", "right", "right", "right", "left")
    return str(tabulate(rows, header, colalign=align, disable_numparse=True))


def _size_of(workload: StageWorkload) -> str:
    if not workload.todo or workload.stage in (Stage.PROBE, Stage.ATTACK, Stage.CELL):
        return ""  # these write a few kilobytes
    if workload.disk is None:
        return "?"
    return f"{'at most ' if workload.bound else ''}{size(workload.disk)}"


def _disk(workloads: Sequence[StageWorkload], store: Path) -> str:
    scratch = max(workload.scratch for workload in workloads)
    known = sum(workload.disk or 0 for workload in workloads)
    parent = next(folder for folder in (store, *store.resolve().parents) if folder.exists())
    free = shutil.disk_usage(parent).free
    unknown = [w.stage for w in workloads if w.todo and _size_of(w) == "?"]
    enough = "" if known + scratch <= free else ", which is not enough"
    lines = [f"disk: {size(known)} to write, {size(free)} free at {store}{enough}"]
    if unknown:
        lines.append(f"unknown before the first of their kind: {', '.join(unknown)}")
    if scratch:
        lines.append(f"during training {size(scratch)} more, for the checkpoint to resume from")
    return "\n".join(lines)


def _time(
    cells: Sequence[Cell], ctx: RunContext, workloads: Sequence[StageWorkload], probe: bool | None
) -> str:
    model = cells[0].config.model
    rates = stored_rates(cells, ctx)
    unknown = [rate for rate in required_rates(workloads) if rate not in rates]
    if unknown and (model.embedded if probe is None else probe):
        rates |= timed_rates(cells, ctx, unknown)
    todo = [workload for workload in workloads if workload.todo]
    rows: list[list[str]] = []
    for workload in todo:
        for key, count in workload.loads.items():
            if rate := rates.get(key):
                spent, each = duration(count * rate.seconds), f"{rate.seconds:.3g}"
                rows.append([workload.stage, key[1], str(count), each, spent, rate.origin])
    spans = {workload.stage: seconds(workload, rates) for workload in todo}
    lines = []
    if rows:
        total = duration(sum(span or 0 for span in spans.values()))
        lines.append(f"about {total}, an estimate; a padded batch counts in full")
        header = ["stage", "of", "units", "s each", "total", ""]
        align = ("left", "left", "right", "right", "right", "left")
        lines.append(str(tabulate(rows, header, colalign=align, disable_numparse=True)))
    if without := [stage for stage, span in spans.items() if span is None]:
        lines.append(f"unknown for {', '.join(without)}, and for loading networks")
    if unknown and probe is None and not model.embedded:
        lines.append(f"--probe times a few images and steps, once {model.name} is loaded")
    return "time: " + "\n".join(lines or ["none, everything is cached"])


def _table(title: str, rows: Sequence[tuple[str, int]]) -> str:
    """List parts and their bytes in GB (10^9)."""
    width = max(len(name) for name, _ in rows)
    return "\n".join([title, *(f"  {name:<{width}}{size / 1e9:10.3f}" for name, size in rows)])


def _memory(cells: Sequence[Cell], memory: MemoryEstimate, device: str) -> list[str]:
    """Tables of generating and of each training, and their peaks compared with the device."""
    parts, peaks = [_generation(cells, memory)], [("generating", memory.generation.peak)]
    for training, needs in memory.training.items():
        names = ", ".join(dict.fromkeys(c.method for c in cells if fine_tuning(c) == training))
        if isinstance(needs, str):
            parts.append(f"training by {names} is not possible: {needs}")
            continue
        title = f"memory of training by {names}, as S-VARE steps, {training.pairs} pairs, GB"
        rows = [(name.replace("_", " "), n) for name, n in needs.parts.items()]
        parts.append(_table(title, [*rows, ("peak: the sum", needs.peak)]))
        peaks.append((f"training by {names}", needs.peak))
    counted = (
        "Counted on tensors without bytes. The CUDA context, workspace inside kernels and gaps of\n"
        f"the allocator come on top: leave {SPARE:.0%}."
    )
    return [*parts, counted, _verdict(peaks, device)]


def _generation(cells: Sequence[Cell], memory: MemoryEstimate) -> str:
    generation = memory.generation
    rows = [
        ("weights of the transformer", generation.weights),
        ("other networks that stay", generation.resident),
        ("text encoders, freed before sampling", generation.text_encoder),
        ("sampling: keys, values, activations", generation.sampling),
        ("decoding, after sampling", generation.decoding),
        ("peak: the first two and the largest of the others", generation.peak),
    ]
    title = f"memory of generating {memory.batch} images at once, GB"
    steering = ", ".join(dict.fromkeys(cell.method for cell in cells if cell.steers))
    note = f"\nmore where {steering} runs other branches than prompt and null" if steering else ""
    return _table(title, rows) + note


def _verdict(peaks: Sequence[tuple[str, int]], device: str) -> str:
    """Compare each peak, with some to spare, with the memory of the device."""
    available = device_memory(device)
    if available is None:
        return f"device {device}: memory size unknown"
    lines = [f"device {device} has {size(available)}"]
    for name, peak in peaks:
        fits = peak * (1 + SPARE) <= available
        lines.append(f"  {name}: {size(peak)} {'fits' if fits else 'does not fit'}")
    return "\n".join(lines)
