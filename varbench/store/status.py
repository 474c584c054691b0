"""Status of a store, read from its run logs and entries; changes nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tabulate import tabulate

from varbench.store import MANIFEST, Stage, StoreError
from varbench.store.failures import META, STAGES
from varbench.store.run_log import FOLDER
from varbench.utils.processes import is_alive

RUNNING, DEAD, UNKNOWN = "running", "dead", "unknown"
_SHOWN = 20


class _Event(BaseModel):
    """The fields of a run log's line that are read here."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    time: Annotated[float, Field(ge=0, lt=1e11)]
    event: str
    command: str | None = None
    host: str | None = None
    pid: Annotated[int, Field(gt=0, lt=1 << 31)] | None = None
    name: str | None = None
    done: Annotated[int, Field(ge=0, lt=1 << 53)] | None = None
    total: Annotated[int, Field(ge=0, lt=1 << 53)] | None = None
    error: str | None = None
    reason: str | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class Run:
    """One run, from its log.

    Attributes:
        state: finished, failed, interrupted, running, dead (its process is gone and its log has
            no end), or unknown (of another machine, silent for long).
        stage: the last stage, with what was done and how much there is.
        left: seconds of that stage that are left at its pace; None if unknown.
        reason: why it failed.
        warnings: how many there were.
    """

    name: str
    command: str
    state: str
    started: float
    last: float
    stage: str
    done: int
    total: int
    left: float | None
    reason: str
    warnings: int


@dataclass(frozen=True)
class Status:
    """A store: finished entries by stage, entries set aside as damaged, runs by start, and failed
    images (stage and key of the entry, number in the block, reason)."""

    entries: Mapping[str, int]
    damaged: int
    runs: tuple[Run, ...]
    failed: tuple[Mapping[str, Any], ...]

    def json(self) -> str:
        """For other programs."""
        return json.dumps(asdict(self), indent=1)

    def text(self) -> str:
        """Tables for a terminal."""
        stages = tabulate(sorted(self.entries.items()), ["stage", "finished entries"], "simple")
        rows = [
            (
                time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)),
                run.state,
                f"{run.stage} {run.done}/{run.total}" if run.stage else "",
                "" if run.left is None else f"{run.left / 60:.0f} min",
                run.warnings or "",
                run.command,
            )
            for run in self.runs
        ]
        head = ["started", "state", "last stage", "left", "warnings", "command"]
        parts = [stages, tabulate(rows, head, "simple", disable_numparse=True)]
        parts += [f"{run.name}: {run.reason}" for run in self.runs if run.reason]
        if self.damaged:
            parts.append(f"{self.damaged} damaged entries were set aside, and are made again")
        if self.failed:
            parts.append(self._failed())
        return "\n\n".join(part for part in parts if part)

    def _failed(self) -> str:
        lines = [
            f"{one['stage']}/{one['key'][:12]}, image {one['number']}: {one['reason']}"
            for one in self.failed[:_SHOWN]
        ]
        lines += [f"and {len(self.failed) - _SHOWN} more"] if len(self.failed) > _SHOWN else []
        head = f"{len(self.failed)} failed images; `varbench run --retry-failed` makes them again"
        return "\n".join([head, *lines])


def status(root: Path) -> Status:
    """Read the status of a store.

    Raises:
        StoreError: there is no store.
    """
    if not root.is_dir():
        raise StoreError(f"there is no store at {root}: check --store")
    counts = {s.value: len(list((root / s).glob(f"??/*/{MANIFEST}"))) for s in sorted(Stage)}
    runs = map(_run, sorted((root / FOLDER).glob("*.jsonl")))
    return Status(
        {name: count for name, count in counts.items() if count},
        len(list((root / "damaged").glob("*"))),
        tuple(run for run in runs if run is not None),
        tuple(_failed(root)),
    )


def _failed(root: Path) -> Iterator[dict[str, Any]]:
    """Failed images. Manifests are read as they lie: a store would set damaged entries aside."""
    told: set[tuple[str, int]] = set()
    for stage in STAGES[:-1]:  # images first: what is computed from them inherits what failed
        for path in sorted((root / stage).glob(f"??/*/{MANIFEST}")):
            try:
                manifest = json.loads(path.read_bytes())
                failed = {int(n): str(why) for n, why in manifest["meta"].get(META, {}).items()}
                images = str(manifest["spec"].get("pictures", path.parent.name))
            except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
                continue
            for number, reason in failed.items():
                if (images, number) not in told:
                    place = {"stage": stage, "key": path.parent.name, "number": number}
                    yield place | {"reason": reason}
            told |= {(images, number) for number in failed}


def events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a run log; a torn last line is left out, as is any that no run writes."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:  # of another user
        text = ""
    for line in text.splitlines():
        with suppress(ValidationError):
            yield _Event.model_validate_json(line).model_dump(exclude_none=True)


def _run(path: Path) -> Run | None:
    told = list(events(path))
    by_kind = {event.get("event"): event for event in told}  # the last of each
    if (first := by_kind.get("started")) is None:
        return None
    ended, failed = by_kind.get("ended"), by_kind.get("failed")
    stages = [e for e in told if {"name", "done", "total"} <= e.keys()]
    last = stages[-1] if stages else {}
    reason = f"{failed.get('error')}: {failed.get('reason')}" if failed else ""
    state = ended.get("outcome", UNKNOWN) if ended else _state(first, told[-1]["time"])
    return Run(
        name=path.stem,
        command=first.get("command", ""),
        state=state,
        started=first["time"],
        last=told[-1]["time"],
        stage=last.get("name", ""),
        done=last.get("done", 0),
        total=last.get("total", 0),
        left=_left(stages) if state == RUNNING else None,
        reason=reason,
        warnings=sum(e.get("event") == "warning" for e in told),
    )


def _state(first: Mapping[str, Any], last: float) -> str:
    """State of a run whose log has no end."""
    if first.get("host") != socket.gethostname():
        silent_for = time.time() - last
        return UNKNOWN if silent_for > 3600 else RUNNING
    pid = first.get("pid")
    return RUNNING if pid is not None and is_alive(pid) else DEAD


def _left(stages: list[dict[str, Any]]) -> float | None:
    """Seconds left at the pace of this process since the stage began, cached work not counted."""
    same = [e for e in stages if e["name"] == stages[-1]["name"]] if stages else []
    if len(same) < 2 or same[-1]["done"] == same[0]["done"]:
        return None
    pace = (same[-1]["time"] - same[0]["time"]) / (same[-1]["done"] - same[0]["done"])
    return float(pace * (same[-1]["total"] - same[-1]["done"]))
