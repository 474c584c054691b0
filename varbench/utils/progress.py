"""Progress that names stage, done / total and time left; plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from varbench.utils.text import duration, visible

_LINE_EVERY_S = 5.0

Log = Callable[[str, int, int, bool], None]


@dataclass
class Bar:
    """One stage under way."""

    owner: Progress
    name: str
    total: int
    done: int
    began: float
    resumed: int
    last_line: float
    rich: RichProgress | None = None
    task: int = 0

    def advance(self, amount: int = 1) -> None:
        """``amount`` more units are done."""
        self.done += amount
        if self.owner.log is not None:
            self.owner.log(self.name, self.done, self.total, False)
        if self.rich is not None:
            self.rich.advance(self.task, amount)  # type: ignore[arg-type]
        elif time.monotonic() - self.last_line >= _LINE_EVERY_S or self.done == self.total:
            self.last_line = time.monotonic()
            spent = self.last_line - self.began
            fresh = max(1, self.done - self.resumed)
            left = spent / fresh * (self.total - self.done)
            self.owner.say(f"{self.name} {self.done}/{self.total}, {duration(left)} left")


class Progress:
    """Progress of a run on standard error.

    Args:
        console: where to write; None shows nothing.
        log: called with the state of stages: name, units done and in all, whether it just began.
    """

    def __init__(self, console: Console | None = None, log: Log | None = None) -> None:
        self.console = console
        self.log = log
        self.label = ""

    def say(self, text: str) -> None:
        """One plain line."""
        if self.console is not None:
            self.console.print(visible(text), highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[Bar]:
        """A stage of ``total`` units, ``done`` of which are cached."""
        name = visible(f"{name} {self.label}".strip())
        now = time.monotonic()
        bar = Bar(self, name, total, done, now, done, now)
        if self.log is not None:
            self.log(name, done, total, True)
        if self.console is None or not self.console.is_terminal:
            if self.console is not None and total > done:
                self.say(f"{name} {done}/{total}")
            yield bar
            return
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self.console) as rich:
            bar.rich = rich
            bar.task = rich.add_task(name, total=total, completed=done)
            yield bar
