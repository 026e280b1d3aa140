"""What a view keeps of the published messages: a few fields of each, many messages decoded at once.

Quantiles are most of a forecast and are not looked at: they are fetched when somebody asks for that forecast. A message
that is not what it should be is passed over and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

_BEGIN, _END = b',"quantiles":[[', b'],"model":'


class ForecastHead(msgspec.Struct, gc=False):
    """A forecast without its numbers."""

    series_id: str
    origin: datetime
    model: str | None = None
    status: str = "ok"
    reason: str | None = None


class Scores(msgspec.Struct, gc=False):
    """An accuracy record or summary, without its horizons."""

    series_id: str
    coverage: list[float | None] = []
    mase: float | None = None
    skill: float | None = None
    at: datetime | None = None  # of a summary
    origin: datetime | None = None  # of a record


class Drift(msgspec.Struct, gc=False):
    """All of a drift record."""

    detector: str
    state: str
    at: datetime
    since: datetime
    series_id: str | None = None
    group: str | None = None
    statistic: float | None = None
    threshold: float | None = None
    scale: float | None = None
    bias: float | None = None


Head = TypeVar("Head")
_DECODERS: dict[Any, tuple[Callable[[bytes], list[Any]], Callable[[bytes], Any]]] = {
    kind: (msgspec.json.Decoder(list[kind]).decode, msgspec.json.Decoder(kind).decode)  # type: ignore[valid-type]
    for kind in (ForecastHead, Scores, Drift)
}


def decode(kind: type[Head], values: Sequence[bytes]) -> list[Head | None]:
    """[n]; None for what is no such message."""
    together, one = _DECODERS[kind]
    try:
        return together(b"[" + b",".join(values) + b"]") if values else []
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return list(map(_forgiving(one), values))


def without_numbers(values: Iterable[bytes]) -> list[bytes]:
    """Forecasts with the part cut out that begins with the quantiles. What does not look like ours stays whole.

    No text in JSON holds one of the two borders, since a quote inside it would be escaped.
    """
    return [_cut(value) for value in values]


def _cut(value: bytes) -> bytes:
    begin, end = value.find(_BEGIN), value.rfind(_END)
    return value[:begin] + value[end + 1 :] if 0 <= begin < end else value


def _forgiving(one: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decoded(value: bytes) -> Any:
        try:
            return one(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    return decoded
