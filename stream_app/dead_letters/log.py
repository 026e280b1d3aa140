"""The topic of dead letters, read for people: what is in it, which of it they select, and what was requeued already.

Beside dead letters the topic holds marks: records that name dead letters which were requeued, written in the same
transaction as the messages that went back (requeueing.py). A mark has a header MARK, no key, and ranges as its value.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from stream_app.dead_letters.record import HEADER
from stream_app.errors import TidecastError
from stream_app.kafka.topic_scan import Progress, TopicScan
from stream_app.wire.decoded import Headers

if TYPE_CHECKING:
    from confluent_kafka import Message

MARK = "tidecast.requeued.places"
REQUEUED = "tidecast.requeued"  # on a message that went back: TOPIC[PARTITION]@OFFSET of its dead letter
RANGES_MAX = 1_000_000  # of requeued offsets held in memory
_CUT = ("sha256", "key_sha256", "headers_left_out")  # headers that say that not all of the message was kept


class Place(NamedTuple):
    """The place of a record in its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        partition, colon, offset = text.partition(":")
        if not (colon and partition.isdecimal() and offset.isdecimal()):
            raise TidecastError(f"Expected PARTITION:OFFSET as `dead-letters list` shows it, found {text!r}.")
        return cls(int(partition), int(offset))


@dataclass(frozen=True)
class Kept:
    """One dead letter. `source` is where its message was in the input."""

    place: Place
    reason: str
    detail: str
    source_topic: str
    source: Place
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...]  # the message's own, without ours
    readings: str  # JSON list of the readings meant; empty: the whole message
    is_cut: bool  # not all of the message was kept
    went_back: bool  # it had been requeued, and failed again

    @classmethod
    def of(cls, message: Message) -> Kept | None:
        """The dead letter in a record; None if it is a mark, or not ours."""
        headers: Headers = message.headers() or []
        ours = {name.removeprefix(HEADER): (text or b"") for name, text in headers if name.startswith(HEADER)}
        said = {name: text.decode("utf-8", "replace") for name, text in ours.items()}
        if "reason" not in said:
            return None
        return cls(
            place=Place(message.partition(), message.offset()),
            reason=said["reason"],
            detail=said.get("detail", ""),
            source_topic=said.get("topic", ""),
            source=Place(_number(said.get("partition")), _number(said.get("offset"))),
            key=message.key(),
            value=message.value(),
            timestamp_ms=message.timestamp()[1],
            headers=tuple((name, text) for name, text in headers if not name.startswith(HEADER)),
            readings=said.get("readings", ""),
            is_cut=any(name in said for name in _CUT),
            went_back=any(name == REQUEUED for name, _ in headers),
        )


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else -1


@dataclass(frozen=True)
class Chosen:
    """Which dead letters are selected. Empty and None select all. Times are those of the messages, in ms."""

    reasons: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()  # of the input
    places: frozenset[Place] = frozenset()
    key: bytes | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, kept: Kept) -> bool:
        return (
            (not self.reasons or kept.reason in self.reasons)
            and (not self.partitions or kept.source.partition in self.partitions)
            and (not self.places or kept.place in self.places)
            and (self.key is None or kept.key == self.key)
            and (self.since_ms is None or kept.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or kept.timestamp_ms < self.until_ms)
        )


class Requeued:
    """Dead letters that went back, as ranges of offsets by partition."""

    def __init__(self, ranges: Mapping[int, Iterable[tuple[int, int]]]) -> None:
        """[first, end) of each; in any order, overlapping or not."""
        self._starts: dict[int, list[int]] = {}
        self._ends: dict[int, list[int]] = {}
        for partition, found in ranges.items():
            starts: list[int] = []
            ends: list[int] = []
            for first, end in sorted(found):
                if ends and first <= ends[-1]:
                    ends[-1] = max(ends[-1], end)
                else:
                    starts.append(first)
                    ends.append(end)
            self._starts[partition], self._ends[partition] = starts, ends

    def __contains__(self, place: Place) -> bool:
        at = bisect_right(self._starts.get(place.partition, []), place.offset) - 1
        return at >= 0 and place.offset < self._ends[place.partition][at]


def ranges_of(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Rising offsets → [first, end) of each run."""
    ranges: list[tuple[int, int]] = []
    for offset in offsets:
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    return ranges


class DeadLetterLog:
    """Dead letters as values. Two readings of the topic: the first learns what went back already."""

    def __init__(self, scan: TopicScan) -> None:
        self._scan = scan
        self.topic = scan.topic

    def ends(self) -> dict[int, int]:
        return self._scan.ends()

    def requeued(self, progress: Progress = lambda done, total: None) -> Requeued:
        """All that went back until now."""
        ranges: dict[int, list[tuple[int, int]]] = {}
        count = 0
        for message in self._scan.messages(self._scan.ends(), progress):
            if any(name == MARK for name, _ in message.headers() or ()):
                found = [(int(first), int(end)) for first, end in json.loads(message.value())]
                ranges.setdefault(message.partition(), []).extend(found)
                count += len(found)
                if count > RANGES_MAX:
                    raise TidecastError(
                        f"{self.topic} says of more than {RANGES_MAX:,} ranges of dead letters that they went back. "
                        "Let retention.ms take old ones away."
                    )
        return Requeued(ranges)

    def letters(
        self, chosen: Chosen, ends: Mapping[int, int], progress: Progress = lambda done, total: None
    ) -> Iterator[Kept]:
        """The selected ones, by partition in log order."""
        for message in self._scan.messages(ends, progress):
            kept = Kept.of(message)
            if kept is not None and chosen.takes(kept):
                yield kept

    def letter(self, place: Place) -> Kept | None:
        message = self._scan.message(*place)
        return None if message is None else Kept.of(message)
