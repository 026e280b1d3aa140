"""Outcomes → records of each output topic.

Outcomes of several partitions and poll batches are written at once, because one call of messages.py costs as much as a
hundred records. Each topic gets them in the order in which they were made.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from model_core.arrays import IntArray
from model_core.outcomes import Outcome, Rows, joined
from model_core.spec import StreamSpec
from stream_app.wire import messages
from stream_app.wire.records import Record, Records
from stream_app.wire.writer import Issuer, Writer


class Made(NamedTuple):
    """An outcome, and the input partition whose readings led to it."""

    partition: int
    outcome: Outcome


def encode_outcomes(
    spec: StreamSpec,
    stream: str,
    made: Sequence[Made],
    issuer: Issuer,
    *,
    writer: Writer = messages,
) -> dict[str, Records]:
    """The records of each kind of topic. `writer` knows the format."""
    write = partial(writer.encode_forecasts, spec, stream, issuer=issuer)
    forecasts = _together(write, [(each.partition, each.outcome.forecasts) for each in made])
    scored = _Written(Records.of([]), [0] * len(made))
    if spec.accuracy == "records":
        write_scored = partial(writer.encode_accuracy, spec, stream)
        scored = _together(write_scored, [(each.partition, each.outcome.scored) for each in made])
    write_summaries = partial(writer.encode_summaries, spec, stream)
    summaries = _together(write_summaries, [(each.partition, each.outcome.summaries) for each in made])
    # A deleted series leaves compacted topics with it.
    gone = [[(series_id.encode(), None) for _, series_id in each.outcome.deleted] for each in made]
    drift: list[Record] = []
    control: list[Record] = []
    for partition, outcome in made:
        drift += writer.encode_drift(spec, stream, partition, outcome.drift)
        control += [messages.encode_retrain(spec, stream, partition, storm) for storm in outcome.storms]
    return {
        "forecasts": _woven([forecasts], gone),
        "accuracy": _woven([scored, summaries], gone),
        "drift": Records.of(drift),
        "control": Records.of(control),
    }


class _Written(NamedTuple):
    """Records, and how many of them are of each part."""

    records: Records
    counts: list[int]


def _together(
    write: Callable[[IntArray, Rows], Sequence[Record]], parts: Sequence[tuple[int, Rows | None]]
) -> _Written:
    """None: there are none of a part."""
    counts = [0 if columns is None else len(columns.series_ids) for _, columns in parts]
    there = [columns for _, columns in parts if columns is not None and columns.series_ids]
    if not there:
        return _Written(Records.of([]), counts)
    partitions = np.repeat(np.array([partition for partition, _ in parts], np.int64), counts)
    records = write(partitions, joined(there))
    return _Written(records if isinstance(records, Records) else Records.of(records), counts)


def _woven(columns: Sequence[_Written], tombstones: Sequence[Sequence[Record]]) -> Records:
    """Part by part, first the records of its columns and then its tombstones."""
    columns = [each for each in columns if each.records]
    if len(columns) == 1 and not any(tombstones):
        return columns[0].records
    woven, at = [], [0] * len(columns)
    for part, gone in enumerate(tombstones):
        for number, each in enumerate(columns):
            end = at[number] + each.counts[part]
            woven.append(each.records.part(at[number], end))
            at[number] = end
        woven.append(Records.of(gone))
    return Records.concatenate(woven)
