"""What writes the messages of a stream: messages.py in JSON, avro_messages.py in Avro."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from model_core.arrays import IntArray
from model_core.outcomes import DriftRecord, Forecasts, Scored, Summaries
from model_core.spec import StreamSpec
from stream_app.wire.records import Record


class Issuer(NamedTuple):
    """The model in charge when forecasts were made (None: there was none), and when they are said: RFC 3339."""

    model: str | None
    model_version: str | None
    issued_at: str


class Writer(Protocol):
    """Records in the order of the columns. `partition` is the one of the input that they all come from, or int64 [n],
    that of each."""

    def encode_forecasts(
        self, spec: StreamSpec, stream: str, partition: int | IntArray, forecasts: Forecasts, issuer: Issuer
    ) -> Sequence[Record]: ...

    def encode_accuracy(
        self, spec: StreamSpec, stream: str, partition: int | IntArray, scored: Scored
    ) -> Sequence[Record]:
        """One record a forecast, with all its scored horizons."""

    def encode_summaries(
        self, spec: StreamSpec, stream: str, partition: int | IntArray, summaries: Summaries
    ) -> Sequence[Record]:
        """One a series: its running accuracy."""

    def encode_drift(
        self, spec: StreamSpec, stream: str, partition: int, drift: Sequence[DriftRecord]
    ) -> Sequence[Record]:
        """Keyed by the series, or by the group and the detector."""
