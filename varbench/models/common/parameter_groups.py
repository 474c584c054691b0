"""Named parts of a network, for methods that train some of its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

from varbench.models.protocol import CapabilityError


def parameters_of(
    part: str, network: nn.Module, patterns: Mapping[str, str], name: str
) -> dict[str, nn.Parameter]:
    """Parameters of a part by their state-dict names.

    Args:
        part: one of ``patterns``, or ``all``.
        network: has the parameters.
        patterns: part -> regular expression for the beginning of its parameters' names.
        name: the model's, for the error.

    Raises:
        CapabilityError: unknown part.
    """
    known = {**patterns, "all": ""}
    if part not in known:
        raise CapabilityError(f"{name} has no part {part!r}; choose one of: {', '.join(known)}")
    pattern = known[part]
    return {key: p for key, p in network.named_parameters() if re.match(pattern, key)}
