"""What a view keeps of the published messages: a few members of each, as columns.

Most messages are read by a loop in C (wire/members.py); what that does not understand (Avro, text beyond ASCII) is read
in Python, into the same columns. Quantiles and horizons make up most of a message and are not needed: MIDDLES are left
out before anything is copied, and a whole forecast is fetched when somebody asks for it. A message that is not as it
should be is skipped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from model_core.arrays import AnyArray, IntArray
from stream_app.wire.members import NO_TIME, NOTHING, Kind, Members
from stream_app.wire.message_columns import MessageColumns
from stream_app.wire.published import as_json
from stream_app.wire.timestamps import Rfc3339, from_datetimes

# Output → where the part of a message begins that nobody looks at, and where it ends. No text in JSON holds one of the
# borders, since a quote inside it would be escaped.
MIDDLES = {
    "forecasts": (b',"quantiles":[[', b'],"model":'),
    "accuracy": (b',"horizons":[{', b'],"mase":'),
}


class ForecastHead(msgspec.Struct, gc=False):
    """A forecast without its numbers."""

    series_id: str
    origin: Rfc3339
    model: str | None = None
    status: str = "ok"
    reason: str | None = None


class Scores(msgspec.Struct, gc=False):
    """An accuracy record or summary, without its horizons."""

    series_id: str
    coverage: list[float | None] = []
    mase: float | None = None
    skill: float | None = None
    at: Rfc3339 | None = None  # of a summary
    origin: Rfc3339 | None = None  # of a record


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


@dataclass(frozen=True)
class Texts:
    """For each message one of a few texts, or none."""

    of: AnyArray  # object [texts]: str
    which: IntArray  # int64 [n], NOTHING where there is none

    def each(self) -> list[Any]:
        """str | None, one for each message."""
        if not len(self.of):
            return [None] * len(self.which)
        found: list[Any] = self.of[self.which].tolist()
        for place in np.flatnonzero(self.which == NOTHING).tolist():
            found[place] = None
        return found

    def coded(self, code_of: Callable[[Sequence[str | None]], AnyArray]) -> AnyArray:
        """Codes [n]. `code_of` is called once, with the different texts."""
        different, places = np.unique(self.which, return_inverse=True)
        codes: AnyArray = code_of(Texts(self.of, different).each())[places]
        return codes


@dataclass(frozen=True)
class Heads:
    """What was read of n valid messages, in their order."""

    rows: IntArray  # int64 [n], their places among all
    texts: dict[str, Texts]
    columns: dict[str, AnyArray]  # [n]: times in ms, NO_TIME where there is none, and numbers, then NaN
    unreadable: int  # other messages

    def __len__(self) -> int:
        return len(self.rows)


# Output → what is decoded the plain way, what is read of it, and of which members one must be there.
_KINDS: dict[str, tuple[Any, dict[str, Kind], tuple[str, ...]]] = {
    "forecasts": (
        ForecastHead,
        {"series_id": "text", "origin": "time", "model": "text", "status": "text", "reason": "text"},
        ("origin",),
    ),
    "accuracy": (
        Scores,
        {
            "series_id": "text",
            "coverage": "first",
            "mase": "number",
            "skill": "number",
            "at": "time",
            "origin": "time",
        },
        ("at", "origin"),
    ),
}


class HeadReader:
    """Reads the messages of one output. Used by one thread."""

    def __init__(self, output: str) -> None:
        self._output = output
        kind, kinds, self._times = _KINDS[output]
        self._decode = msgspec.json.Decoder(kind).decode
        self._members = Members(kinds)

    def read(self, messages: MessageColumns) -> Heads:
        """Messages with a null value are left out, and do not count as unreadable."""
        has_value = messages.value_bytes >= 0
        is_known, columns = self._members.read(messages)
        texts = {name: table.known for name, table in self._members.texts.items()}
        more: dict[str, list[str]] = {name: [] for name in texts}  # that are not in the tables of C
        for row in np.flatnonzero(has_value & ~is_known).tolist():
            head = _plainly(self._output, self._decode, messages[row].value() or b"")
            if head is not None:
                is_known[row] = True
                self._put(head, row, columns, more)
        dated = np.any([columns[name] != NO_TIME for name in self._times], axis=0)
        rows = np.flatnonzero(is_known & dated & (columns["series_id"] != NOTHING))
        columns = {name: column[rows] for name, column in columns.items()}
        found = {name: Texts(_joined(texts[name], more[name]), columns.pop(name)) for name in texts}
        return Heads(rows, found, columns, int(has_value.sum()) - len(rows))

    def _put(self, head: Any, row: int, columns: dict[str, AnyArray], more: dict[str, list[str]]) -> None:
        """Write it into the columns as C would have done; its texts are placed after those of the tables."""
        for name, kind in self._members.kinds.items():
            value = getattr(head, name)
            if kind == "text":
                columns[name][row] = NOTHING
                if value is not None:
                    columns[name][row] = self._members.texts[name].table.count + len(more[name])
                    more[name].append(value)
            elif kind == "time":
                columns[name][row] = NO_TIME if value is None else from_datetimes([value])[0]
            else:
                if kind == "first":
                    value = value[0] if value else None
                columns[name][row] = np.nan if value is None else value


def _joined(texts: AnyArray, more: list[str]) -> AnyArray:
    return np.append(texts, np.array(more, object)) if more else texts


def _plainly(output: str, decode: Callable[[bytes], Any], value: bytes) -> Any:
    """The head of a message in JSON or Avro, or None if it is not valid."""
    try:
        return decode(as_json(output, value) or b"")
    except (ValueError, LookupError, EOFError, TypeError, OverflowError):  # msgspec's errors are ValueErrors
        return None


_DRIFT = msgspec.json.Decoder(Drift)


def drift(value: bytes) -> Drift | None:
    """The drift record, or None if the message is not valid."""
    found: Drift | None = _plainly("drift", _DRIFT.decode, value)
    return found
