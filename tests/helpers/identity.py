"""A concept whose prompt sets have names, for tests of judges of named people."""

from __future__ import annotations

from dataclasses import dataclass

from varbench.data.concept import Judge

NAMES = ("Ada Marlow", "Béa Keel", "Clara Voss")
JUDGE = Judge("clip-names", "identity", NAMES[0])


@dataclass(frozen=True)
class NamedConcept:
    known: tuple[str, ...] = NAMES
    judge: Judge = JUDGE
    name: str = "ada"

    def labels(self, column: str) -> tuple[str, ...]:
        return self.known if column == self.judge.head else ()
