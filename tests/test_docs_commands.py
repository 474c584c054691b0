"""Commands, paths and links of the pages: parsed as they stand there, nothing is run."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from tests.helpers.paths import ROOT
from varbench.cli import app

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "results" / "README.md"])
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$|((?:^    [^\n]+\n)+)", re.DOTALL | re.MULTILINE)
PATH = re.compile(r"`((?:varbench|baselines|tools|tests|benchmarks|docs)/[\w/.-]+)`")
LINK = re.compile(r"\]\((?!http)([^)#]+)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command in the page's code blocks."""
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    for language, fenced, indented in BLOCK.findall(text):
        for line in (fenced if language == "sh" else indented).splitlines():
            if re.match(r"\s*(varbench|python|pytest|pip) ", line) and "{" not in line:
                for part in re.split(r"&&|\|\|", line):
                    yield shlex.split(part, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_can_be_parsed(page: Path) -> None:
    for program, *words in commands(page):
        if program == "varbench":
            COMMANDS[words[0]].make_context(words[0], words[1:])
        elif words[:1] == ["-m"] and program == "python":
            assert importlib.util.find_spec(words[1]), words
        files = [word for word in words if word.endswith(".py") and "/" in word]
        assert all((ROOT / file).is_file() for file in files), words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = [path for path in PATH.findall(text) if "NAME" not in path and "mythings" not in path]
    paths = [path for path in paths if path not in ("varbench/prompts", "varbench/results")]
    missing = [path for path in paths if not (ROOT / path).exists()]
    missing += [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert not missing


def test_the_pages_have_commands() -> None:
    assert sum(1 for page in PAGES for _ in commands(page)) > 60
