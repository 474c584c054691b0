"""What happened in a run, as JSON lines in the store: ``runs/<time>-<host>-<pid>.jsonl``.

One file per process and run, written by nobody else and only appended to, one line per event, so a
crash costs at most the line under way. All lines have ``time`` (seconds since 1970) and ``event``:

===========  ======================================================================================
``started``  ``command``, ``varbench``, ``commit``, ``device``, ``host``, ``pid``
``stage``    a stage began: ``name``, ``total`` units, of which ``done`` were there
``progress`` the same stage, at most every `EVERY_S` seconds
``warning``  ``logger``, ``message``
``failed``   ``error`` (its type), ``reason``, ``traceback`` where it is no user's error
``ended``    ``outcome``: finished, failed or interrupted
===========  ======================================================================================
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from varbench.errors import UserError
from varbench.store import StoreError

FOLDER = "runs"
EVERY_S = 5.0


class RunLog:
    """Appends events to a file of its own.

    Args:
        store: the store's folder.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, store: Path) -> None:
        folder = store / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.path = folder / f"{stamp}-{socket.gethostname()}-{os.getpid()}.jsonl"
        self._last: dict[str, float] = {}

    def write(self, event: str, **fields: Any) -> None:
        """One line, on disk when this returns but for the system's cache."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def stage(self, name: str, done: int, total: int, *, new: bool = False) -> None:
        """Where a stage is; skipped if the same was told a moment ago and it is not its end."""
        now = time.monotonic()
        if not new and done < total and now - self._last.get(name, -EVERY_S) < EVERY_S:
            return
        self._last[name] = now
        self.write("stage" if new else "progress", name=name, done=done, total=total)


class _Warnings(logging.Handler):
    """Writes warnings of varbench's loggers into a journal."""

    def __init__(self, journal: RunLog) -> None:
        super().__init__(logging.WARNING)
        self.journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a full disk is the run's to notice."""
        try:
            self.journal.write("warning", logger=record.name, message=record.getMessage())
        except OSError:
            self.handleError(record)


@contextmanager
def kept(
    store: Path, command: str, device: str, version: str, commit: str | None
) -> Iterator[RunLog]:
    """A journal for what happens inside: its start, warnings, how it ended and why.

    Args:
        store: the store's folder.
        command: as it was typed.
        device, version, commit: of this process.

    Raises:
        StoreError: the store cannot be written.
    """
    try:
        journal = RunLog(store)
        origin = {"varbench": version, "commit": commit, "device": device}
        here = {"host": socket.gethostname(), "pid": os.getpid()}
        journal.write("started", command=command, **origin, **here)
    except OSError as error:
        fix = "change its permissions or use another --store"
        raise StoreError(f"store {store} cannot be written ({error}): {fix}") from error
    handler = _Warnings(journal)
    logger = logging.getLogger("varbench")
    logger.addHandler(handler)
    outcome = "finished"
    try:
        yield journal
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    except BaseException as error:
        outcome = "failed"
        told = {"error": type(error).__name__, "reason": str(error)}
        if not isinstance(error, UserError | StoreError):
            told["traceback"] = traceback.format_exc()
        _try(journal, "failed", **told)
        raise
    finally:
        logger.removeHandler(handler)
        _try(journal, "ended", outcome=outcome)


def _try(journal: RunLog, event: str, **fields: Any) -> None:
    """Write if it can be written: the error that is under way says more than this one."""
    try:
        journal.write(event, **fields)
    except OSError:
        logging.getLogger("varbench.store.run_log").warning("%s cannot be written", journal.path)
