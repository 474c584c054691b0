"""The parts of a `cell.json` that reports read, by their types: a store may be a stranger's."""

from __future__ import annotations

from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from varbench.metrics.record import RECORD_FIELDS, MetricRecord

_Mapping = dict[str, Any] | None
_HINTS = get_type_hints(MetricRecord)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Difference(_Part):
    value: float | None
    low: float | None
    high: float | None


class _Image(_Part):
    prompt: str
    prompt_id: str
    seed: int
    key: str
    file: Annotated[str, Field(pattern=r"^[0-9]+\.png$")]
    hit: bool | None = None


class _Settings(_Part):
    model: _Mapping = None


_FIELDS: dict[str, Any] = {
    **{name: (_HINTS[name], None) for name in RECORD_FIELDS},
    "difference": (_Difference | None, None),
    "note": (str, ""),
    "details": (_Mapping, None),
}
_Record: Any = create_model("_Record", __base__=_Part, **_FIELDS)


class _Cell(_Part):
    seed: int | None = None
    records: list[_Record] = []
    images: dict[str, list[_Image]] | None = Field(None, alias="pictures")
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
