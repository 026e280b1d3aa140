"""Outcomes → records of each output topic. Those of several partitions and poll batches are written at once, since one
call of messages.py costs as much as a hundred records; each topic has them in the order in which they were made.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from model_core.arrays import IntArray
from model_core.outcomes import DriftRecord, Forecasts, Outcome, Rows, Scored, Summaries, joined
from model_core.spec import StreamSpec
from stream_app.wire import messages

Record = tuple[bytes, bytes | None]  # None: a tombstone


class Made(NamedTuple):
    """What readings of one input partition led to."""

    partition: int
    outcome: Outcome


class Writer(Protocol):
    """What writes the messages of a stream: messages.py, or an AvroMessages."""

    def encode_forecasts(
        self,
        spec: StreamSpec,
        stream: str,
        partition: int | IntArray,
        forecasts: Forecasts,
        *,
        model: str | None,
        model_version: str | None,
        issued_at: str,
    ) -> list[messages.Record]: ...

    def encode_accuracy(
        self, spec: StreamSpec, stream: str, partition: int | IntArray, scored: Scored
    ) -> list[messages.Record]: ...

    def encode_summaries(
        self, spec: StreamSpec, stream: str, partition: int | IntArray, summaries: Summaries
    ) -> list[messages.Record]: ...

    def encode_drift(
        self, spec: StreamSpec, stream: str, partition: int, drift: Sequence[DriftRecord]
    ) -> list[messages.Record]: ...


def encode_outcomes(
    spec: StreamSpec,
    stream: str,
    made: Sequence[Made],
    *,
    model: str | None,
    model_version: str | None,
    issued_at: str,
    writer: Writer = messages,
) -> dict[str, list[Record]]:
    """By the kind of topic. `model`, `model_version` and `issued_at` as for messages.encode_forecasts.

    `writer` knows the format: JSON, or avro_messages.py.
    """
    write = partial(
        writer.encode_forecasts, spec, stream, model=model, model_version=model_version, issued_at=issued_at
    )
    forecasts = _together(write, [(each.partition, each.outcome.forecasts) for each in made])
    scored: list[list[Record]] = [[] for _ in made]
    if spec.accuracy == "records":
        write_scored = partial(writer.encode_accuracy, spec, stream)
        scored = _together(write_scored, [(each.partition, each.outcome.scored) for each in made])
    write_summaries = partial(writer.encode_summaries, spec, stream)
    summaries = _together(write_summaries, [(each.partition, each.outcome.summaries) for each in made])
    found: dict[str, list[Record]] = {"forecasts": [], "accuracy": [], "drift": [], "control": []}
    for number, (partition, outcome) in enumerate(made):
        # A deleted series leaves compacted topics with it.
        tombstones: list[Record] = [(series_id.encode(), None) for _, series_id in outcome.deleted]
        found["forecasts"] += forecasts[number] + tombstones
        found["accuracy"] += scored[number] + summaries[number] + tombstones
        found["drift"] += writer.encode_drift(spec, stream, partition, outcome.drift)
        found["control"] += [messages.encode_retrain(spec, stream, partition, storm) for storm in outcome.storms]
    return found


def _together(
    write: Callable[[IntArray, Rows], Sequence[Record]], parts: Sequence[tuple[int, Rows | None]]
) -> list[list[Record]]:
    """The records of each part. None: there are none of it."""
    counts = [0 if columns is None else len(columns.series_ids) for _, columns in parts]
    there = [columns for _, columns in parts if columns is not None and columns.series_ids]
    if not there:
        return [[] for _ in parts]
    partitions = np.repeat(np.array([partition for partition, _ in parts], np.int64), counts)
    records = iter(write(partitions, joined(there)))
    return [list(islice(records, count)) for count in counts]
