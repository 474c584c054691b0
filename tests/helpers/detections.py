"""A NudeNet session that is surer than the real one."""

from __future__ import annotations

from typing import Any

from varbench.metrics.groups import Array


class Loud:
    """A session whose class scores are roots of the network's, by default the fourth."""

    def __init__(self, session: Any, root: int = 4) -> None:
        self.session, self.root = session, root

    def run(self, names: Any, inputs: dict[str, Array]) -> list[Array]:
        (boxes,) = self.session.run(names, inputs)
        boxes[:, 4:] **= 1 / self.root
        return [boxes]
