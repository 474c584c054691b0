"""The parts of a `cell.json` that reports read, by their types: a store may be a stranger's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_Number = float | None
_Mapping = dict[str, Any] | None


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Difference(_Part):
    value: _Number
    low: _Number
    high: _Number


class _Record(_Part):
    """As `varbench.metrics.record.MetricRecord.for_cell` writes it."""

    model: str = ""
    method: str = ""
    config: str = ""
    concept: str = ""
    suite: str = ""
    prompt_set: str = ""
    metric: str = ""
    seed: int | None = None
    value: _Number = None
    ci_low: _Number = None
    ci_high: _Number = None
    n: int | None = None
    n_failed: int | None = None
    baseline: _Number = None
    status: str = ""
    difference: _Difference | None = None
    note: str = ""
    details: _Mapping = None


class _Image(_Part):
    prompt: str
    prompt_id: str
    seed: int
    key: str
    file: Annotated[str, Field(pattern=r"^[0-9]+\.png$")]
    hit: bool | None = None


class _Settings(_Part):
    model: _Mapping = None
    suite: _Mapping = None
    method: Any = None


class _Cell(_Part):
    model: str = ""
    embedded: bool = False
    method: str = ""
    config: str = ""
    concept: str = ""
    family: str = ""
    suite: str = ""
    seed: int | None = None
    records: list[_Record] = []
    pictures: dict[str, list[_Image]] | None = None
    inputs: list[str] = []
    edit: str | None = None
    command: str | list[str] = ""
    provenance: _Mapping = None
    method_config: _Mapping = None
    resolved_config: _Settings | None = None
    seconds: _Mapping = None


def problem_of(body: object) -> str | None:
    """The place and the reason why a parsed `cell.json` is none; None if reports can read it."""
    try:
        _Cell.model_validate(body)
    except ValidationError as error:
        first, *_ = error.errors(include_url=False)
        return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return None
