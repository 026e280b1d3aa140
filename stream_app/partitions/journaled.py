"""Decisions about a partition that its input log does not determine, as values. recovery/journal.py reads them back.

A decision either takes effect at an offset (an idle close, a model swap: before the reading with that offset) or is
looked up for the offsets it names (verdicts of the clock, a model that failed). The decisions of a partition are
numbered; a checkpoint remembers how many of them its state contains.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from model_core.arrays import BoolArray, IntArray

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


class ModelFailed(NamedTuple):
    """A model did not answer the windows that these readings made due, but for the first `answered` of `from_offset`:
    one reading may make more due than a model is asked for at once."""

    from_offset: int
    to_offset: int
    answered: int = 0

    @classmethod
    def of(cls, detail: Mapping[str, Any]) -> ModelFailed:
        """As a decision says it; one of an older worker says nothing of windows."""
        return cls(detail["from_offset"], detail["to_offset"], detail.get("answered", 0))

    @property
    def detail(self) -> dict[str, int]:
        """What its decision says. An older worker passes over `answered`."""
        said = {"from_offset": self.from_offset, "to_offset": self.to_offset}
        return said | ({"answered": self.answered} if self.answered else {})

    def rows(self, offsets: IntArray, asked: int) -> BoolArray:
        """Which windows it is about: `offsets` [n] made them due, `asked` of `from_offset` came before them."""
        rows = (offsets >= self.from_offset) & (offsets < self.to_offset)
        rows[np.flatnonzero(offsets == self.from_offset)[: max(0, self.answered - asked)]] = False
        return rows


@dataclass
class Journaled:
    """What a partition's journal says beyond its state, and the number of the next decision."""

    pending: deque[Decision] = field(default_factory=deque)  # that take effect at an offset, in order
    clock: set[tuple[int, int]] = field(default_factory=set)  # (offset, position in the message) rejected
    failed: list[ModelFailed] = field(default_factory=list)  # verdicts on what the state has not seen, by from_offset
    asked: tuple[int, int] = (-1, 0)  # the newest reading whose windows a model was asked for, and how many of them
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
                journaled.failed.append(ModelFailed.of(decision.detail))
            elif decision.number > contained:
                journaled.pending.append(decision)
        journaled.failed.sort()
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
        begun = self._failed_before(next_offset)
        self.failed[: len(begun)] = [each for each in begun if each.to_offset > next_offset]
        self.clock = {(offset, position) for offset, position in self.clock if offset >= next_offset}

    def asked_of(self, offset: int) -> int:
        """For how many windows of this reading a model was asked so far."""
        newest, count = self.asked
        return count if newest == offset else 0

    def ask(self, offsets: IntArray) -> None:
        """A model was asked for the next windows; `offsets` [n > 0] made them due."""
        newest = int(offsets.max())
        self.asked = newest, self.asked_of(newest) + int(np.count_nonzero(offsets == newest))

    def has_failed(self, offsets: IntArray) -> BoolArray:
        """On which of the next windows to be asked for; `offsets` [n] made them due."""
        failed = np.zeros(len(offsets), np.bool_)
        for each in self._failed_before(int(offsets.max(initial=-1)) + 1):
            failed |= each.rows(offsets, self.asked_of(each.from_offset))
        return failed

    def fail(self, failed: ModelFailed) -> None:
        """A verdict made here and now."""
        insort(self.failed, failed)

    def _failed_before(self, offset: int) -> list[ModelFailed]:
        """Verdicts that begin before it. A replay of a day without a model has very many that are still ahead."""
        return self.failed[: bisect_left(self.failed, (offset,))]

    def decide(self, next_offset: int, kind: Kind, **detail: Any) -> Decision:
        """A decision made here and now."""
        self.count += 1
        return Decision(self.count, next_offset, kind, detail)
