"""What decoding a poll batch gives: columns by partition, and what could not be used, with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from model_core.arrays import BoolArray
from model_core.readings import Readings

DeadLetterReason = Literal[
    "malformed",
    "schema",
    "unkeyed",
    "not_finite",
    "timestamp_out_of_range",
    "too_late",
    "unknown_schema",
    "too_large",
]
REASONS: tuple[DeadLetterReason, ...] = get_args(DeadLetterReason)
# Late readings and bad clocks say nothing about the format: they never pause a partition.
NOT_THE_FORMAT: tuple[DeadLetterReason, ...] = ("too_late", "timestamp_out_of_range")

Headers = list[tuple[str, bytes | None]]
LOG_APPEND_TIME = 2  # confluent_kafka.TIMESTAMP_LOG_APPEND_TIME


class Message(Protocol):
    """The part of confluent_kafka.Message that decoding reads."""

    def value(self) -> bytes | None: ...
    def key(self) -> bytes | None: ...
    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Headers | None: ...


@dataclass(frozen=True)
class DeadLetter:
    """One message, and one reason why it, or some of its readings, could not be used."""

    reason: DeadLetterReason
    detail: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int  # Kafka's
    headers: tuple[tuple[str, bytes | None], ...]
    readings: tuple[str, ...] = ()  # of a pack or array: the series (or "#position") meant; empty: the whole message

    @classmethod
    def of(cls, message: Message, reason: DeadLetterReason, detail: str, readings: Sequence[str] = ()) -> "DeadLetter":
        return cls(
            reason=reason,
            detail=detail,
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            key=message.key(),
            value=message.value(),
            timestamp_ms=message.timestamp()[1],
            headers=tuple(message.headers() or ()),
            readings=tuple(readings),
        )


@dataclass(frozen=True)
class ReplayVerdicts:
    """What the journal says the worker's clock decided, for offsets before `until_offset` of one partition."""

    until_offset: int
    rejected: frozenset[tuple[int, int]] = frozenset()  # (offset, position in the message)


@dataclass(frozen=True)
class DecodedPoll:
    """A poll batch, decoded. A partition without any usable reading or deletion is absent from `readings`."""

    readings: dict[int, Readings]  # by partition, in log order
    dead_letters: list[DeadLetter] = field(default_factory=list)  # in the order of the poll
    # partition → (offset, position in the message) that the worker's clock judged too far ahead: to be journaled
    clock_rejections: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    # partition → bool [messages of it, log order]: the format made all of it unusable (see dead_letter_limit)
    malformed: dict[int, BoolArray] = field(default_factory=dict)
    excluded: int = 0  # readings that `include` leaves out
