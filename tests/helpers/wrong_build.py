"""A build whose decoder is wrong, with the same version number."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from varbench.models.infinity.model import InfinityModel


def inverted_colours() -> AbstractContextManager[Any]:
    """The decoder inverts all colours."""
    decode = InfinityModel.decode

    def inverted(self: InfinityModel, rollout: Any) -> Any:
        return 1 - decode(self, rollout)

    return mock.patch.object(InfinityModel, "decode", inverted)
