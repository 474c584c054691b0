"""Code blocks of the Markdown pages."""

from __future__ import annotations

import re
from pathlib import Path

from tests.helpers.paths import ROOT


def named_blocks(page: str | Path) -> dict[str, str]:
    """The code blocks that a line such as "`erasers/away.py`:" stands before, by that name.

    Args:
        page: path of the page, relative to the repository.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^`([^`\n]+)`:\n\n```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return dict(blocks)
