"""What one message holds, read in plain steps: its readings, and what is wrong with the rest."""

from dataclasses import dataclass, field

from stream_app.wire.decoded import DeadLetterReason


@dataclass(frozen=True)
class Fault:
    reason: DeadLetterReason
    detail: str
    reading: str | None = None  # the series meant, or "#position"; None: the whole message


@dataclass
class OneMessage:
    """What a message holds. The lists run side by side; `timestamps_ms` is None where Kafka's counts."""

    series_ids: list[str] = field(default_factory=list)
    timestamps_ms: list[int | None] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    excluded: int = 0
