"""Verdicts about event time: before `min_timestamp`, or further ahead than `max_future` of the record or the clock.

Verdicts that depend on the worker's clock are not determined by the log: they are returned to be journaled, and a
replay takes them from the journal instead of the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model_core.arrays import BoolArray, IntArray
from model_core.durations import format_duration
from model_core.spec import StreamSpec
from stream_app.wire.columns import PollColumns
from stream_app.wire.decoded import ReplayVerdicts
from stream_app.wire.message_columns import MessageColumns
from stream_app.wire.timestamps import MAX_MS, MIN_MS, rfc3339


@dataclass(frozen=True)
class TimeVerdicts:
    """`details` says of each rejected reading (index into the columns) what is wrong with its time."""

    kept: BoolArray  # bool [n]
    details: dict[int, str]
    clock_rejections: dict[int, list[tuple[int, int]]]  # partition → (offset, position), this worker's clock


def judge(
    spec: StreamSpec,
    columns: PollColumns,
    polled: MessageColumns,
    now_ms: int,
    replay: Mapping[int, ReplayVerdicts],
) -> TimeVerdicts:
    """`polled`: the messages that the readings came in; `now_ms` is this worker's clock, `replay` what the journal says
    of another one, by partition. Times of readings that are known ahead (future covariates) may lie ahead.
    """
    times, messages = columns.timestamps_ms, columns.messages
    details: dict[int, str] = {}
    least = max(spec.min_timestamp, MIN_MS)
    if _nothing_rejected(times, least, min(now_ms + spec.max_future, MAX_MS), polled, replay):
        return TimeVerdicts(np.ones(len(columns), bool), {}, {})
    impossible = (times < least) | (times > MAX_MS)
    for index in np.flatnonzero(impossible).tolist():
        details[index] = f"{rfc3339(int(times[index]))} is {_side(int(times[index]), least)}"

    if polled.log_append is None:
        by_record = np.zeros(len(columns), bool)
        ahead = times > now_ms + spec.max_future
    else:
        by_record = polled.log_append[messages]
        ahead = times > np.where(by_record, polled.record_ms[messages], now_ms) + spec.max_future
    replayed, journaled = _journaled(columns, polled, replay)
    ahead = np.where(replayed & ~by_record, journaled, ahead) & ~impossible
    clock: dict[int, list[tuple[int, int]]] = {}
    for index in np.flatnonzero(ahead).tolist():
        if spec.future_covariates and spec.role(spec.split(columns.series_ids[index])[1]) == "future":
            ahead[index] = False
            continue
        message = int(messages[index])
        whose = "its record's timestamp" if by_record[index] else "the worker's clock"
        details[index] = (
            f"{rfc3339(int(times[index]))} is more than max_future ({format_duration(spec.max_future)}) "
            f"ahead of {whose}"
        )
        if not by_record[index] and not replayed[index]:
            place = (int(polled.offsets[message]), int(columns.positions[index]))
            clock.setdefault(int(polled.partitions[message]), []).append(place)
    return TimeVerdicts(~(impossible | ahead), details, clock)


def _nothing_rejected(
    times: IntArray, least: int, most: int, polled: MessageColumns, replay: Mapping[int, ReplayVerdicts]
) -> bool:
    """The usual case: by this worker's clock everything is in time, and the journal has nothing to say."""
    return (
        (not len(times) or bool(times.min() >= least and times.max() <= most))
        and not any(verdicts.rejected for verdicts in replay.values())
        and polled.log_append is None
    )


def _side(time_ms: int, least: int) -> str:
    return f"before min_timestamp ({rfc3339(least)})" if time_ms < least else "after the year 9999"


def _journaled(
    columns: PollColumns, polled: MessageColumns, replay: Mapping[int, ReplayVerdicts]
) -> tuple[BoolArray, BoolArray]:
    """(whether the journal decides about this reading, whether it rejected it)."""
    replayed, rejected = np.zeros(len(columns), bool), np.zeros(len(columns), bool)
    for partition, verdicts in replay.items():
        offsets: IntArray = polled.offsets[columns.messages]
        here = (polled.partitions[columns.messages] == partition) & (offsets < verdicts.until_offset)
        replayed |= here
        candidates = here & np.isin(offsets, [offset for offset, _ in verdicts.rejected])
        for index in np.flatnonzero(candidates).tolist():
            rejected[index] = (int(offsets[index]), int(columns.positions[index])) in verdicts.rejected
    return replayed, rejected
