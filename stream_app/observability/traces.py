"""W3C trace context: readings that their producer traces can be found in the logs, by trace_id.

A `traceparent` header with the sampled flag marks a reading. Dead letters, late readings and forecasts that such a
reading led to are logged, up to a few lines a second. A poll without headers costs nothing, a poll with headers one
search through their bytes; single messages are not looked at.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog

from model_core.outcomes import Forecasts, Rejected
from model_core.readings import Readings
from stream_app.partitions.names import StreamPartition

if TYPE_CHECKING:
    from model_core.spec import StreamSpec
    from stream_app.wire.message_columns import MessageColumns

Header = tuple[str, bytes | None]
FOUND_MAX = 100  # traced readings of one poll that are looked for again
# Headers lie name by value in their bytes.
_SAMPLED = re.compile(rb"traceparent[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f][13579bdf](?![0-9a-f])")
_VALUE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f][13579bdf]")
log = structlog.get_logger(__name__)


class Traced(NamedTuple):
    """A reading's message."""

    offset: int
    trace_id: str


class Traces:
    """What is traced in the poll that is being processed. `lines_max` a second; 0 looks for none."""

    def __init__(self, lines_max: int) -> None:
        self._lines_max = lines_max
        self._second, self._lines = 0.0, 0
        self._found: dict[StreamPartition, list[Traced]] = {}

    def see(self, stream: str, messages: MessageColumns) -> None:
        """Look for traced messages in a poll of a stream; those of the poll before are forgotten."""
        if self._found:
            self._found = {at: some for at, some in self._found.items() if at.stream != stream}
        if not self._lines_max or not len(messages.texts.headers):
            return
        for number, match in enumerate(_SAMPLED.finditer(messages.texts.headers.tobytes())):
            row = messages.row_of_header(match.start())
            if number >= FOUND_MAX:
                return
            if row is not None:
                at = StreamPartition(stream, int(messages.partitions[row]))
                self._found.setdefault(at, []).append(Traced(int(messages.offsets[row]), match[1].decode()))

    def dead_letter(
        self, at: StreamPartition, offset: int, reason: str, headers: Sequence[tuple[str, bytes | None]]
    ) -> None:
        trace_id = trace_id_of(headers) if self._lines_max and headers else None
        if trace_id is not None and self._may_log():
            log.info("dead letter", partition=str(at), offset=offset, reason=reason, trace_id=trace_id)

    def late(self, at: StreamPartition, rejected: Sequence[Rejected], readings: Readings) -> None:
        """Log late readings that are only counted, and do not become dead letters."""
        traced = dict(self._found.get(at, ()))
        for each in rejected if traced else ():
            offset = int(readings.offsets[each.position])
            if offset in traced and self._may_log():
                series_id = readings.series_ids[each.position]
                log.info("late reading", partition=str(at), offset=offset, series_id=series_id, trace_id=traced[offset])

    def forecasts(self, at: StreamPartition, spec: StreamSpec, forecasts: Forecasts) -> None:
        """Log the forecasts that a traced reading led to."""
        traced = dict(self._found.get(at, ()))
        if not traced or not len(forecasts):
            return
        for index in np.flatnonzero(np.isin(forecasts.offsets, list(traced))).tolist():
            if not self._may_log():
                return
            offset = int(forecasts.offsets[index])
            log.info(
                "forecast",
                partition=str(at),
                offset=offset,
                series_id=forecasts.series_ids[index],
                origin_ms=spec.grid.start_ms(int(forecasts.origins[index])),
                trace_id=traced[offset],
            )

    def _may_log(self) -> bool:
        now = time.monotonic()
        if now > self._second + 1:
            self._second, self._lines = now, 0
        self._lines += 1
        return self._lines <= self._lines_max


def trace_id_of(headers: Sequence[Header]) -> str | None:
    """The trace id of a sampled traceparent; None if there is none."""
    for name, value in headers:
        if name == "traceparent" and value is not None:
            match = _VALUE.fullmatch(value)
            return None if match is None else match[1].decode()
    return None
