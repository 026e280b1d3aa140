"""Outputs that leave together, as bytes, by topic. Filled by the pipeline, emptied by the publisher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_app.wire.records import Records


class Addressed(NamedTuple):
    """A record with headers, or for one partition."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1  # -1: by the key
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int = 0  # 0: now


@dataclass
class Outbox:
    """Records in the order of their making, within each topic."""

    keyed: dict[str, list[Records]] = field(default_factory=dict)  # by topic
    addressed: list[Addressed] = field(default_factory=list)
    records: int = 0
    size_bytes: int = 0  # of keys and values

    def add(self, topic: str, records: Records) -> None:
        if records:
            self.keyed.setdefault(topic, []).append(records)
            self.records += len(records)
            self.size_bytes += records.size_bytes

    def add_addressed(self, record: Addressed) -> None:
        self.addressed.append(record)
        self.records += 1
        self.size_bytes += len(record.key or b"") + len(record.value or b"")
