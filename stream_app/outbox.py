"""Outbox: what leaves together, as bytes, by topic. Filled by the pipeline, emptied by the publisher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Addressed(NamedTuple):
    """A record that `produce_batch` cannot carry: with headers, or for one partition."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1  # -1: by the key
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int = 0  # 0: now


@dataclass
class Outbox:
    """Records in the order of their making, within each topic."""

    keyed: dict[str, list[tuple[bytes, bytes | None]]] = field(default_factory=dict)  # topic → (key, value)
    addressed: list[Addressed] = field(default_factory=list)
    records: int = 0
    size_bytes: int = 0  # of keys and values

    def add(self, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        if records:
            self.keyed.setdefault(topic, []).extend(records)
            self.records += len(records)
            self.size_bytes += sum(len(key) + len(value or b"") for key, value in records)

    def add_addressed(self, record: Addressed) -> None:
        self.addressed.append(record)
        self.records += 1
        self.size_bytes += len(record.key or b"") + len(record.value or b"")
