"""The text of `varbench plan`, and its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.cli import varbench

FIGURES = re.compile(r"^(\w+) +(\d+) +(\d+|\?) +(\d+)  +(.*)$")


@dataclass(frozen=True)
class Row:
    asked: int
    held: int | None
    todo: int
    rest: str


def rows(text: str) -> dict[str, Row]:
    table = {}
    for line in text.splitlines():
        if match := FIGURES.match(line):
            stage, asked, held, todo, rest = match.groups()
            table[stage] = Row(int(asked), None if held == "?" else int(held), int(todo), rest)
    return table


def planned(store: Path, *args: str) -> str:
    done = varbench("plan", "--no-probe", "--store", str(store), *args)
    assert done.exit_code == 0, done.output
    return done.stdout
