"""A Ray cluster as the driver sees it: actors that come, work, die and hang."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from varbench.conf.schema import EngineConfig
from varbench.errors import UserError
from varbench.pipeline.task import Task
from varbench.store import StoreError
from varbench.utils import origin

POLL_S = 1.0
PATIENCE_S = 180.0
"""Longest time until the first worker: Ray finds it a place, and it imports torch."""


@dataclass
class Place:
    """A worker as the driver sees it: its actor, and what it is doing since when."""

    actor: Any
    host: str
    pid: int
    reply: Any = None
    task: Task | None = None
    since: float = 0.0


class Cluster:
    """The actors of a run, of a class whose ``where`` gives host, process number and code."""

    def __init__(self, engine: EngineConfig, worker: type, args: tuple[Any, ...]) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError(
                "engine=ray needs Ray: pip install '.[ray]' in a checkout, or pip install ray"
            ) from error
        self.ray: Any = ray
        self.engine, self.worker, self.args = engine, worker, args
        self.places: list[Place] = []
        self._coming: dict[Any, Any] = {}  # what a new actor answers first -> the actor
        self._alone_since = time.monotonic()
        self._trouble = ""

    def __enter__(self) -> Cluster:
        self._started = not self.ray.is_initialized()
        if self._started:
            # "local": else Ray would join whatever cluster was last started on this machine.
            address = self.engine.address or os.environ.get("RAY_ADDRESS") or "local"
            cpus = max(1, self.engine.workers or os.cpu_count() or 1)
            here = {"num_cpus": cpus} if address == "local" else {}
            _answers(address)
            try:
                self.ray.init(
                    address=address, log_to_driver=False, include_dashboard=False,
                    configure_logging=False, **here,
                )  # fmt: skip
            except (
                Exception
            ) as error:  # Ray has no class of its own for a start that takes too long
                fix = "run the same command again once the machine is less busy"
                raise UserError(f"Ray did not start: {error} {fix}") from error
        self._node = self.ray.get_runtime_context().get_node_id()
        settings = {"num_cpus": self.engine.cpus, "num_gpus": self.engine.gpus, "max_restarts": 0}
        self._actor = self.ray.remote(**settings)(self.worker)
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
            UserError: there is none, and there was none for `PATIENCE_S`, or none can come; or
                one has another version of varbench or of a library.
        """
        most = self.engine.workers or 10**6
        room = self._room() - len(self._coming)
        for _ in range(min(room, most - len(self.places) - len(self._coming))):
            actor = self._actor.remote(*self.args)
            self._coming[actor.where.remote()] = actor
        patience = 0.0 if self.places else POLL_S
        answered = self.ray.wait([*self._coming], timeout=patience)[0] if self._coming else ()
        for answer in answered:
            actor = self._coming.pop(answer)
            try:
                host, pid, *same = self.ray.get(answer)
                _check_code(f"worker {pid} on {host}", *same)
                self.places.append(Place(actor, host, pid))
            except self.ray.exceptions.RayError as error:
                self._trouble = f"; the last one died: {_last_line(error)}"
                self._end(actor)
        if self.places:
            self._alone_since = time.monotonic()
            return
        self._check_nodes()
        if time.monotonic() - self._alone_since > PATIENCE_S:
            raise UserError(
                f"no worker of {self.engine.cpus:g} CPUs and {self.engine.gpus:g} GPUs came within "
                f"{PATIENCE_S:g} s{self._trouble}: set engine.cpus and engine.gpus to what one "
                "machine has, or add machines"
            )
        if not self._coming:
            time.sleep(POLL_S)

    def _check_nodes(self) -> None:
        """Raise UserError if this process's node is lost: no worker will come through it."""
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        if self._node not in alive:
            raise UserError(
                "the Ray node of this process is lost: its raylet has ended, perhaps killed where "
                "memory ran out; run the same command again, which goes on from here"
            )

    def _room(self) -> int:
        """Workers that what is free in the whole cluster is enough for."""
        free = self.ray.available_resources()
        each = {"CPU": self.engine.cpus, "GPU": self.engine.gpus}
        return int(min(free.get(kind, 0) // need for kind, need in each.items() if need))

    def wait(self) -> list[tuple[Place, str | None]]:
        """Workers that finished a task (None) or lost it (why), after a moment at most.

        Raises:
            UserError: a stage met an error that the user has to mend.
        """
        replies = {place.reply: place for place in self.places if place.reply is not None}
        if not replies:
            return []
        finished, _ = self.ray.wait(list(replies), num_returns=1, timeout=POLL_S)
        out: list[tuple[Place, str | None]] = []
        for reply in finished:
            place = replies[reply]
            try:
                answer = self.ray.get(reply)
            except self.ray.exceptions.RayError as error:
                self._drop(place)
                out.append((place, _last_line(error)))
                continue
            if answer is not None:
                kind, message = answer
                raise StoreError(message) if kind == "StoreError" else UserError(message)
            out.append((place, None))
        now, timeout = time.monotonic(), self.engine.timeout
        for reply, place in replies.items():
            if reply in finished:
                continue
            if now - place.since > timeout:
                self._drop(place, hung=True)
                out.append((place, f"no answer for {timeout:g} s (engine.timeout)"))
        return out

    def _drop(self, place: Place, *, hung: bool = False) -> None:
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


def _check_code(worker: str, code: Mapping[str, str] | None = None) -> None:
    """Refuse a worker that would compute with other code, under the same keys.

    Args:
        worker: names it.
        code: as of `varbench.utils.origin.code` there; None where varbench does not tell it yet.

    Raises:
        UserError: names every version that differs.
    """
    here, there = origin.code(), code or {}
    differ = [
        f"{name} {there.get(name, 'unknown')} (here {here.get(name, 'unknown')})"
        for name in {**here, **there}
        if there.get(name) != here.get(name)
    ]
    if differ:
        raise UserError(
            f"{worker} has {', '.join(differ)}: one run computes with one version; install the "
            "same on every machine, start the cluster again, and run the same command"
        )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _answers(address: str) -> None:
    """Ray itself tries an address that nobody listens at for minutes, and then aborts.

    Raises:
        UserError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "local" or "auto"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"no Ray cluster at {address}: {error}; see `ray status` there") from error
