"""Decisions about a partition that its input log does not determine, as values. recovery/journal.py reads them back.

A decision either takes effect at an offset (an idle close, a model swap: before the reading with that offset) or is
looked up for the offsets it names (verdicts of the clock, a model that failed). The decisions of a partition are
numbered; a checkpoint remembers how many of them its state contains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["idle_close", "model", "clock", "model_failed"]


@dataclass(frozen=True)
class Decision:
    """`next_offset`: the first offset not yet in the state when it was made."""

    number: int
    next_offset: int
    kind: Kind
    detail: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """What the record says beside partition and next_offset."""
        return {"number": self.number, "kind": self.kind, **self.detail}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Decision:
        body = dict(record["decision"])
        number, kind = body.pop("number"), body.pop("kind")
        return cls(number, record["next_offset"], kind, body)


@dataclass
class Journaled:
    """What a partition's journal says beyond its state, and the number of the next decision."""

    pending: deque[Decision] = field(default_factory=deque)  # that take effect at an offset, in order
    clock: set[tuple[int, int]] = field(default_factory=set)  # (offset, position in the message) rejected
    failed: list[tuple[int, int]] = field(default_factory=list)  # [from, to) offsets whose windows the model failed
    count: int = 0  # decisions ever made, those of others included

    @classmethod
    def after(cls, decisions: Iterable[Decision], contained: int, next_offset: int) -> Journaled:
        """`contained`: how many decisions the state has already seen, up to `next_offset`."""
        journaled = cls(count=contained)
        for decision in sorted(decisions, key=lambda each: each.number):
            journaled.count = max(journaled.count, decision.number)
            if decision.kind == "clock":
                journaled.clock.update((offset, position) for offset, position in decision.detail["rejected"])
            elif decision.kind == "model_failed":
                journaled.failed.append((decision.detail["from_offset"], decision.detail["to_offset"]))
            elif decision.number > contained:
                journaled.pending.append(decision)
        journaled.forget(next_offset)
        return journaled

    @property
    def contained(self) -> int:
        """How many of them the state has seen: a checkpoint says so. Not those that a replay has still to come to."""
        return self.pending[0].number - 1 if self.pending else self.count

    def due(self, next_offset: int) -> list[Decision]:
        """Those that take effect before the reading with this offset; they are pending no more."""
        due = []
        while self.pending and self.pending[0].next_offset <= next_offset:
            due.append(self.pending.popleft())
        return due

    def forget(self, next_offset: int) -> None:
        """Verdicts on what the state has seen, which nobody looks up again: a model that fails adds one a batch."""
        self.failed = [(first, end) for first, end in self.failed if end > next_offset]
        self.clock = {(offset, position) for offset, position in self.clock if offset >= next_offset}

    def has_failed(self, offset: int) -> bool:
        return any(first <= offset < end for first, end in self.failed)

    def decide(self, next_offset: int, kind: Kind, **detail: Any) -> Decision:
        """A decision made here and now."""
        self.count += 1
        return Decision(self.count, next_offset, kind, detail)
