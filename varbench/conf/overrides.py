"""Overrides ``KEY=VALUE``: the types of their keys, texts kept as written, errors with the fix."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_origin, get_type_hints

from hydra.errors import HydraException

from varbench.conf.schema import GroupConfig
from varbench.data.prompt_sets import is_path
from varbench.utils.files import expanded

_FREE_KEYS = ("suite.groups.", "model.train.", "model.methods.")  # of the user's choice
_GROUP_KEY = re.compile(r"suite\.groups\.[^.]+\.(\w+)")
_IN_QUOTES = re.compile(r"(['\"]).*\1", re.DOTALL)
_PATH_KEY = re.compile(r"model\.weights|suite\.groups\.[^.]+\.set")
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def types_of(config: type[Any], prefix: str = "") -> dict[str, Any]:
    """The types of a dataclass's settings, by their dotted keys."""
    types: dict[str, Any] = {}
    hints = get_type_hints(config)
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            types |= types_of(cast("type[Any]", hint), f"{prefix}{field.name}.")
        else:
            types[prefix + field.name] = hint
    return types


def _type_of(key: str, types: Mapping[str, Any]) -> Any:
    group = _GROUP_KEY.fullmatch(key)
    return types_of(GroupConfig).get(group[1]) if group else types.get(key)


def _key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def path_of(override: str) -> Path | None:
    """The path of a file or folder of the user's that an override names, as it stands there."""
    key, (_, _, value) = _key_of(override), override.partition("=")
    value = value[1:-1] if _IN_QUOTES.fullmatch(value) else value
    if not _PATH_KEY.fullmatch(key) or value in ("", "null"):
        return None
    return Path(value) if key == "model.weights" or is_path(value, ".csv") else None


def absolute(override: str) -> str:
    """The override with its path, if it names one, as it is from every folder."""
    path = path_of(override)
    return override if path is None else f"{override.partition('=')[0]}={expanded(path).absolute()}"


def quoted(override: str, types: Mapping[str, Any]) -> str:
    """The override with its text in quotes, as Hydra's grammar wants it.

    Without, it takes `/a,b` for a choice and `/a=b` for an error, and neither `1e5` nor `true` as
    written. `null` stays what it is, and a text in quotes stays as it is.
    """
    name, equals, value = override.partition("=")
    is_text = _type_of(_key_of(override), types) in (str, str | None)
    if not equals or not is_text or value == "null" or _IN_QUOTES.fullmatch(value):
        return override
    # A backslash counts only before a quote, where it has to be doubled.
    text = re.sub(r"(\\*)'", r"\1\1\\'", value)
    text += text[len(text.rstrip("\\")) :]
    return f"{name}='{text}'"


def reason(error: Exception) -> str:
    """The first line of an error, and of its cause: Hydra names the key, OmegaConf the problem."""
    cause = error.__cause__ if isinstance(error, HydraException) else None
    texts = [str(each).splitlines()[0].rstrip(".") for each in (error, cause) if each and str(each)]
    return ": ".join(dict.fromkeys(texts))


def explain(error: Exception, overrides: Sequence[str], types: Mapping[str, Any]) -> str:
    """Hydra's error with the override at fault and its fix: the key's name, type, or quotes."""
    lines = [reason(error)]
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+~")
        if key not in types and not key.startswith(_FREE_KEYS):
            near = difflib.get_close_matches(key, types, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            lines += [f"there is no key {key!r}{hint}", f"keys: {', '.join(types)}"]
        elif key in str(error) or override == getattr(error, "override", None):
            lines[0] = lines[0] if override in lines[0] else f"{override}: {lines[0]}"
            lines += _fixes(key, value, types, "Could not override" in lines[0])
    return "\n".join(lines)


def _fixes(key: str, value: str, types: Mapping[str, Any], absent: bool) -> list[str]:
    if absent:
        return [f"to add a setting that is not there, write +{key}={value}"]
    hint = _type_of(key, types)
    if get_origin(hint) in (list, tuple):
        return [f"give {key} a list, such as {key}=[A,B]"]
    if hint in _KINDS:
        return [f"give {key} {_KINDS[hint]}"]
    is_free = key.startswith(_FREE_KEYS)
    return [f"put quotes around the value: {key}=\"'{value}'\""] if is_free else []
