"""The Ray engine: the task graph on a cluster, one actor per worker, on one shared store.

The driver hands every free worker one task whose needs are in the store, so no more is under way
than there are workers, and memory does not grow with the run. A task travels as its key, results
not at all: they are in the store. A worker that dies, runs out of memory or hangs is replaced and
its task is done again, by whichever is free; the store's locks are the operating system's, so they
end with the process that held them.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

from varbench.errors import UserError
from varbench.pipeline.context import RunContext
from varbench.pipeline.engines.cluster import Cluster
from varbench.pipeline.graph import tasks
from varbench.pipeline.plan import Request, base_cell, plan
from varbench.pipeline.record import cell_spec, recorded
from varbench.pipeline.task import Lookup, Task, perform
from varbench.store import Stage, Store, StoreError
from varbench.utils.devices import pick_device
from varbench.utils.origin import code

LONG = (Stage.EDIT, Stage.ROLLOUTS, Stage.PROBE, Stage.ATTACK)


class Worker:
    """The code of an actor.

    Args:
        root: the store's folder, the same on every machine.
        request: the run; its device "auto" is decided where the worker is.
        threads: of each operation; the driver's, for bits may depend on it.
    """

    def __init__(self, root: str, request: Request, threads: int) -> None:
        torch.set_num_threads(threads)
        self.ctx = RunContext(Store(Path(root)), device=pick_device(request.device))
        self.request = request
        self._tasks: dict[str, Task] = {}

    def where(self) -> tuple[str, int, dict[str, str]]:
        """Host, process number, and the code that computes here: versions, commit, sources."""
        return socket.gethostname(), os.getpid(), code()

    def do(self, key: str) -> tuple[str, str] | None:
        """Do a task of the run; a UserError comes back as (kind, message)."""
        try:
            if not self._tasks:
                self._tasks = {task.key: task for task in tasks(self.ctx, plan(self.request))}
            perform(self.ctx, [self._tasks[key]])
        except (UserError, StoreError) as error:
            return type(error).__name__, str(error)
        return None


class _Run:
    """The tasks of a run under way, in the order in which to begin them, each tried a few times."""

    def __init__(self, tasks: Mapping[str, Task], finished: set[str], attempts: int) -> None:
        self.finished, self.attempts = finished, attempts
        self.waiting = {key: task for key, task in tasks.items() if key not in finished}
        self.tries: Counter[str] = Counter()

    def begin(self) -> Task | None:
        """Take the next task that can be begun; None if all wait for others."""
        for key, task in self.waiting.items():
            if all(need.key in self.finished for need in task.needs):
                self.tries[key] += 1
                return self.waiting.pop(key)
        return None

    def end(self, task: Task, trouble: str | None) -> None:
        """Take note of a finished task (None), or of one that failed (why).

        Raises:
            UserError: it failed too often.
        """
        if trouble is None:
            self.finished.add(task.key)
        elif self.tries[task.key] < self.attempts:
            self.waiting = {task.key: task, **self.waiting}
        else:
            raise UserError(
                f"{task} failed {self.tries[task.key]} times, at last: {trouble}. What is done is "
                "in the store: mend the cause and run the same command again"
            )


def unfinished(request: Request, ctx: RunContext) -> dict[str, Task]:
    """By key the tasks of all cells that are not recorded, in the order in which to begin them."""
    cells = plan(request)
    open_cells = [c for c in cells if recorded(ctx.store, cell_spec(ctx, c), c.groups()) is None]
    bases = [base_cell(cells, cell) for cell in open_cells]
    some = [cell for cell in cells if any(cell is one for one in (*bases, *open_cells))]
    # Long tasks first: at the end of a run all other workers would wait for the one that has it.
    return {task.key: task for task in sorted(tasks(ctx, some), key=lambda t: t.stage not in LONG)}


def prepare(request: Request, ctx: RunContext) -> None:
    """Do all tasks of a run on a cluster; afterwards the store has everything but the cells.

    Raises:
        UserError: Ray is not installed, the cluster has no room, or a task failed too often.
        UserError, StoreError: of a stage.
    """
    todo = unfinished(request, ctx)
    store = Lookup(ctx.store.find)
    finished = {key for key, task in todo.items() if store.find(task)}
    run = _Run(todo, finished, request.engine.attempts)
    if not run.waiting:
        return
    args = (str(ctx.store.root), request, torch.get_num_threads())
    with (
        Cluster(request.engine, Worker, args) as cluster,
        ctx.progress.stage("tasks", len(todo), len(finished)) as bar,
    ):
        while len(run.finished) < len(todo):
            before = len(run.finished)
            cluster.grow()
            for place in cluster.places:
                if place.task is None and (task := run.begin()) is not None:
                    place.task, place.since = task, time.monotonic()
                    place.reply = place.actor.do.remote(task.key)
            for place, trouble in cluster.wait():
                assert place.task is not None
                run.end(place.task, trouble)
                place.task = place.reply = None
            bar.advance(len(run.finished) - before)
