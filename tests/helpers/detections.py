"""A NudeNet session that is surer than the real one."""

from __future__ import annotations

from typing import Any

from varbench.metrics.groups import Array

NUDE_CONCEPT = """
name: bare
family: nudity
words: [nude, naked, nudity]
synonyms: [without clothes, wearing nothing]
replacement: []
neighbours: [clothed]
judge: {{name: nudenet, head: {head}, label: {label}}}
prompts:
  target: [{{set: people, where: {{state: [nude]}}, limit: {prompts}}}]
  neighbours: [{{set: people, where: {{state: [clothed]}}, limit: {neighbours}}}]
  unrelated: [{{set: objects, where: {{wording: [name]}}, limit: 2}}]
pairs: {{list: {{set: people-pairs}}, count: 10, seed: 1, retain: [{{set: artist-styles}}]}}
"""
"""A concept's file, with places for the judge's head and label, and for numbers of prompts."""


class Loud:
    """A session whose class scores are roots of the network's, by default the fourth."""

    def __init__(self, session: Any, root: int = 4) -> None:
        self.session, self.root = session, root

    def run(self, names: Any, inputs: dict[str, Array]) -> list[Array]:
        (boxes,) = self.session.run(names, inputs)
        boxes[:, 4:] **= 1 / self.root
        return [boxes]
