"""The Ray engine: one actor per worker, each with a model of its own, on one shared store.

The driver hands every free worker one shard whose needs are done, so no more is under way than
there are workers, and memory does not grow with the run. Results never travel: they are in the
store. A worker that dies, runs out of memory or hangs is replaced and its shard is done again, by
whoever is free; the store's locks are the operating system's, so they end with the process that
held them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from varbench.conf.engine import EngineConfig
from varbench.errors import UserError
from varbench.pipeline.context import RunContext
from varbench.pipeline.engines.shards import Shard, done, perform, shards_of
from varbench.pipeline.plan import Request
from varbench.store import Store, StoreBusyError, StoreError
from varbench.utils.devices import pick_device
from varbench.utils.progress import Progress

POLL_S = 1.0
PATIENCE_S = 180.0
"""How long it may take until there is a first worker: Ray finds it a place, it imports torch."""


class EngineError(UserError):
    """The cluster cannot do the work; what is done is in the store."""


class Worker:
    """What runs in an actor.

    Args:
        root: the store's folder, the same on every machine.
        device: to compute on; "auto" is decided where the worker is.
        threads: of each operation; the driver's, for bits may depend on it.
    """

    def __init__(self, root: str, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.ctx = RunContext(Store(Path(root)), Progress(), pick_device(device))

    def where(self) -> tuple[str, int]:
        """Host and process number."""
        return socket.gethostname(), os.getpid()

    def do(self, request: Request, shard: Shard) -> tuple[str, str] | None:
        """Do a shard; what a user can mend comes back as (kind, message) and is not tried again."""
        try:
            perform(request, shard, self.ctx)
        except StoreBusyError:
            raise
        except (UserError, StoreError) as error:
            return type(error).__name__, str(error)
        return None


@dataclass
class _Place:
    """A worker as the driver sees it: its actor, and what it is doing since when."""

    actor: Any
    host: str
    pid: int
    task: Any = None
    shard: Shard | None = None
    since: float = 0.0


@dataclass
class _Run:
    """One request under way."""

    request: Request
    needs: dict[Shard, frozenset[Shard]]
    finished: set[Shard] = field(default_factory=set)
    tries: dict[Shard, int] = field(default_factory=dict)

    def ready(self, busy: set[Shard]) -> Shard | None:
        """The next shard that can be begun; None if all wait for others."""
        for shard, needs in self.needs.items():
            if shard not in self.finished and shard not in busy and needs <= self.finished:
                return shard
        return None


def prepare(request: Request, ctx: RunContext) -> None:
    """Do all shards of a run on a cluster; afterwards the store has everything but the cells.

    Args:
        request: the run, with the device of the workers.
        shop: the driver's place of work.

    Raises:
        EngineError: Ray is not installed, the cluster has no room, or a shard failed too often.
        UserError, StoreError: a stage found something that the user has to mend.
    """
    engine = request.engine
    run = _Run(request, shards_of(request, ctx))
    run.finished = {shard for shard in run.needs if done(request, shard, ctx)}
    if len(run.finished) == len(run.needs):
        return
    with _Cluster(request, ctx) as cluster:
        total = len(run.needs)
        with ctx.progress.stage("shards", total, len(run.finished)) as bar:
            while len(run.finished) < total:
                before = len(run.finished)
                _turn(run, cluster, engine)
                bar.advance(len(run.finished) - before)


def _turn(run: _Run, cluster: _Cluster, engine: EngineConfig) -> None:
    """Give free workers work, wait for one to finish, and see after the lost and the hung."""
    cluster.grow()
    busy = {place.shard for place in cluster.places if place.shard is not None}
    for place in cluster.places:
        if place.shard is None and (shard := run.ready(busy)) is not None:
            run.tries[shard] = run.tries.get(shard, 0) + 1
            place.shard, place.since = shard, time.monotonic()
            place.task = place.actor.do.remote(run.request, shard)
            busy.add(shard)
    for place, outcome in cluster.wait(engine.timeout):
        shard = place.shard
        assert shard is not None
        place.shard = place.task = None
        if outcome is None:
            run.finished.add(shard)
            continue
        if run.tries[shard] >= engine.attempts:
            raise EngineError(
                f"{shard} failed {engine.attempts} times, at last: {outcome}. What is done is in "
                "the store: mend the cause and run the same command again"
            )


class _Cluster:
    """The actors of a run; leaving it ends them."""

    def __init__(self, request: Request, ctx: RunContext) -> None:
        try:
            import ray
        except ImportError as error:
            raise EngineError("engine=ray needs Ray: pip install 'varbench[ray]'") from error
        self.ray: Any = ray
        self.engine = request.engine
        self.device = request.device
        self.ctx = ctx
        self.places: list[_Place] = []
        self._coming: dict[Any, Any] = {}  # what a new actor answers first -> the actor
        self._alone_since = time.monotonic()
        self._trouble = ""

    def __enter__(self) -> _Cluster:
        self._started = not self.ray.is_initialized()
        if self._started:
            # "local": else Ray would join whatever cluster was last started on this machine.
            address = self.engine.address or os.environ.get("RAY_ADDRESS") or "local"
            cpus = max(1, self.engine.workers or os.cpu_count() or 1)
            here = {"num_cpus": cpus} if address == "local" else {}
            _answers(address)
            self.ray.init(
                address=address, log_to_driver=False, include_dashboard=False,
                configure_logging=False, **here,
            )  # fmt: skip
        settings = {"num_cpus": self.engine.cpus, "num_gpus": self.engine.gpus, "max_restarts": 0}
        self._actor = self.ray.remote(**settings)(Worker)
        return self

    def __exit__(self, *exc: object) -> None:
        for actor in (*(place.actor for place in self.places), *self._coming.values()):
            self._end(actor)
        if self._started:
            self.ray.shutdown()

    def grow(self) -> None:
        """Ask for workers while there seems to be room for them, and take in those that came.

        Nobody waits for one while others work: free processors may lie on different machines, so
        a worker that Ray was asked for may have to wait for its place.

        Raises:
            EngineError: there is none, and there was none for `PATIENCE_S`.
        """
        wanted = self.engine.workers or 10**6
        room = self._room() - len(self._coming)
        for _ in range(min(room, wanted - len(self.places) - len(self._coming))):
            actor = self._actor.remote(
                str(self.ctx.store.root), self.device, torch.get_num_threads()
            )
            self._coming[actor.where.remote()] = actor
        for answer in self._answered():
            actor = self._coming.pop(answer)
            try:
                self.places.append(_Place(actor, *self.ray.get(answer)))
            except self.ray.exceptions.RayError as error:
                self._trouble = f"; the last one died: {_last_line(error)}"
                self._end(actor)
        if self.places:
            self._alone_since = time.monotonic()
            return
        if time.monotonic() - self._alone_since > PATIENCE_S:
            raise EngineError(
                f"no worker of {self.engine.cpus:g} CPUs and {self.engine.gpus:g} GPUs came within "
                f"{PATIENCE_S:g} s{self._trouble}: set engine.cpus and engine.gpus to what one "
                "machine has, or add machines"
            )
        if not self._coming:
            time.sleep(POLL_S)

    def _answered(self) -> list[Any]:
        """First answers of new actors; waits a moment for one if there is no worker yet."""
        if not self._coming:
            return []
        patience = 0.0 if self.places else POLL_S
        found: list[Any] = self.ray.wait(list(self._coming), timeout=patience)[0]
        return found

    def _room(self) -> int:
        """Workers that what is free in the whole cluster is enough for."""
        free = self.ray.available_resources()
        asked = {"CPU": self.engine.cpus, "GPU": self.engine.gpus}
        return int(min(free.get(kind, 0) // need for kind, need in asked.items() if need))

    def wait(self, timeout: float) -> list[tuple[_Place, str | None]]:
        """Workers that finished a shard (None) or lost it (why), after a moment at most.

        Raises:
            UserError: a stage found something that the user has to mend.
        """
        tasks = {place.task: place for place in self.places if place.task is not None}
        if not tasks:
            return []
        finished, _ = self.ray.wait(list(tasks), num_returns=1, timeout=POLL_S)
        out: list[tuple[_Place, str | None]] = []
        for task in finished:
            place = tasks[task]
            try:
                told = self.ray.get(task)
            except self.ray.exceptions.RayError as error:
                self._drop(place)
                out.append((place, _last_line(error)))
                continue
            if told is not None:
                kind, message = told
                raise StoreError(message) if kind == "StoreError" else UserError(message)
            out.append((place, None))
        now = time.monotonic()
        for place in tasks.values():
            if place.task is None or place.task in finished:
                continue
            if now - place.since > timeout:
                self._drop(place, hung=True)
                out.append((place, f"no answer for {timeout:g} s (engine.timeout)"))
        return out

    def _drop(self, place: _Place, *, hung: bool = False) -> None:
        """End a worker; `grow` asks for another where there is room."""
        self.places.remove(place)
        self._end(place.actor)
        # A stopped process hears no request. Of a dead one the number may be another's by now.
        if hung and place.host == socket.gethostname():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(place.pid, signal.SIGKILL)

    def _end(self, actor: Any) -> None:
        with contextlib.suppress(Exception):  # it may be gone, with its node
            self.ray.kill(actor)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _answers(address: str) -> None:
    """Ray itself tries an address that nobody listens at for minutes, and then aborts.

    Raises:
        EngineError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "local" or "auto"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise EngineError(
            f"no Ray cluster at {address}: {error}; see `ray status` there"
        ) from error
