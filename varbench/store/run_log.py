"""The log of a run, JSON lines in the store: ``runs/<time>-<host>-<pid>.jsonl``.

One file per process and run, only appended to by that process, one line per event, so a crash
costs at most the last line. All lines have ``time`` (seconds since 1970) and ``event``:

===========  ======================================================================================
``started``  ``command``, ``varbench``, ``commit``, ``device``, ``host``, ``pid``
``stage``    a stage began: ``name``, ``total`` units, of which ``done`` were there
``progress`` the same stage, at most every 5 seconds
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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from varbench.errors import UserError
from varbench.store import StoreError
from varbench.utils.origin import commit, versions

FOLDER = "runs"
_EVERY_S = 5.0


class RunLog(logging.Handler):
    """Appends events to its own file; as a logging handler, the warnings of varbench's loggers too.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, store: Path) -> None:
        super().__init__(logging.WARNING)
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

    def stage(self, name: str, done: int, total: int, new: bool = False) -> None:
        """Log the state of a stage, unless it was logged a moment ago and the stage goes on."""
        now = time.monotonic()
        if not new and done < total and now - self._last.get(name, -_EVERY_S) < _EVERY_S:
            return
        self._last[name] = now
        self.write("stage" if new else "progress", name=name, done=done, total=total)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a warning; never raises, since a full disk fails the run itself."""
        with suppress(OSError):
            self.write("warning", logger=record.name, message=record.getMessage())


@contextmanager
def run_log(store: Path, command: str, device: str) -> Iterator[RunLog]:
    """Log what happens inside: the start, warnings, the end and its reason.

    Raises:
        StoreError: the store cannot be written.
    """
    try:
        log = RunLog(store)
        origin = {"varbench": versions()["varbench"], "commit": commit(), "device": device}
        process = {"host": socket.gethostname(), "pid": os.getpid()}
        log.write("started", command=command, **origin, **process)
    except OSError as error:
        fix = "change its permissions or use another --store"
        raise StoreError(f"store {store} cannot be written ({error}): {fix}") from error
    logger = logging.getLogger("varbench")
    logger.addHandler(log)
    outcome = "finished"
    try:
        yield log
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    except BaseException as error:
        outcome = "failed"
        fields = {"error": type(error).__name__, "reason": str(error)}
        if not isinstance(error, UserError | StoreError):
            fields["traceback"] = traceback.format_exc()
        _try(log, "failed", **fields)
        raise
    finally:
        logger.removeHandler(log)
        _try(log, "ended", outcome=outcome)


def _try(log: RunLog, event: str, **fields: Any) -> None:
    """Write unless the file cannot be written: the error under way says more than that one."""
    try:
        log.write(event, **fields)
    except OSError:
        logging.getLogger("varbench.store.run_log").warning("%s cannot be written", log.path)
