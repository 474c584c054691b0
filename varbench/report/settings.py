"""Settings of cells: what decided their numbers besides the method, and how settings differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from varbench.store.hashing import parsed_digest

_OF_METHOD = {"edit", "steering", "seed", "method", "pictures", "erased"}
_NAMES = {"model": "weights", "base": "base images", "erased": "other erased concepts"}
_SHOWN = 5


def settings_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a cell without the method's own parts: equal for cells that can be compared.

    It has the resolved suite and model, fingerprint of the weights, digest of the concept (and of
    those erased with it), and versions of stages, scorers, judge and metrics.
    """
    settings = {name: value for name, value in spec.items() if name not in _OF_METHOD}
    if isinstance(config := settings.get("config"), Mapping):
        own = {"method", "pairs"}
        settings["config"] = {name: value for name, value in config.items() if name not in own}
    if others := [each for each in spec.get("erased", ()) if each != spec.get("concept")]:
        settings["erased"] = others
    return settings


def settings_id(settings: Mapping[str, Any]) -> str:
    """First 8 hex digits of the hash of settings."""
    return parsed_digest(settings)[:8]


def differences(settings: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Settings that differ from others, such as ``model.sampling.guidance 6 (others 3)``."""
    parts = list(_differences((), settings, others))
    more = [f"and {len(parts) - _SHOWN} more"] if len(parts) > _SHOWN else []
    return ", ".join([*parts[:_SHOWN], *more])


def _differences(
    path: tuple[str, ...], mine: Mapping[str, Any], others: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    names = {name for settings in (mine, *others) for name in settings}
    # What a user sets comes first, what follows from it last.
    for name in sorted(names, key=lambda name: (name != "config", name == "metrics", name)):
        value: Any = mine.get(name)
        theirs: list[Any] = [settings.get(name) for settings in others]
        if all(other == value for other in theirs):
            continue
        inner = (*path, name if path else _NAMES.get(name, name))
        if isinstance(value, Mapping) and all(isinstance(other, Mapping) for other in theirs):
            yield from _differences(inner, value, theirs)
            continue
        key = ".".join(inner[inner[0] == "config" :])
        texts = list(dict.fromkeys(_text(other) for other in theirs if other != value))
        if name not in mine:
            yield f"without {key}"
        elif not any(name in settings for settings in others):
            yield f"with {key}"
        elif (text := _text(value)) is None or None in texts:
            yield f"{key} changed"
        else:
            yield f"{key} {text} (others {', '.join(map(str, texts))})"


def _text(value: Any) -> str | None:
    """A setting as text; None for hashes, and for all that would fill lines."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    hashed = isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16,}", value)
    return None if hashed or isinstance(value, Mapping) or len(text) > 40 else text
