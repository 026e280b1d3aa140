"""When a transaction is cut, and what a cut holds: the offsets to commit, and copies of the states that are due.

A copy of the state is taken here, in the pipeline's thread, before the next reading is observed; it is written after
the commit. Time comes in as an argument.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from stream_app.checkpoints import CheckpointStore, OwnershipLost, StateCopy
from stream_app.delivery.parcel import TransactionCut
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned, Receipt

if TYPE_CHECKING:
    from stream_app.delivery.saver import Saver
    from stream_app.settings import Limits

NEVER = float("inf")
COPY_WAIT_S = 2.0  # before letting go, for all: a copy on top of one that is still on its way is a full one


class Cuts:
    """The two clocks of the pipeline: transaction_interval and checkpoint_interval. Copies that have not reached the
    store keep others waiting, so that memory holds no more of them than `checkpoint_copies_bytes_max`."""

    def __init__(self, limits: Limits, store: CheckpointStore, saver: Saver) -> None:
        self._interval_s = limits.transaction_interval / 1000
        self._records_max = limits.transaction_records_max
        self._checkpoint_interval_s = limits.checkpoint_interval / 1000
        self._copies_bytes_max = limits.checkpoint_copies_bytes_max
        self._store = store
        self._saver = saver
        self._copy_at: dict[StreamPartition, float] = {}  # when each state is to be copied next (time.monotonic())
        self._on_their_way: list[tuple[Owned, int]] = []  # copies, and their bytes
        self.next_cut = 0.0  # time.monotonic()

    def is_due(self, now: float, records: int) -> bool:
        """Whether outputs and offsets must go; `records`: outputs since the last cut."""
        return now >= self.next_cut or records >= self._records_max

    def copy_due_at(self, owned: Iterable[Owned]) -> float:
        """When a state is to be copied though nothing new has come (time.monotonic())."""
        if not self._has_room():
            return NEVER
        return min((self._copy_at.get(each.at, 0.0) for each in owned if self._may_copy(each)), default=NEVER)

    def take(
        self, owned: Mapping[StreamPartition, Owned], now: float, *, lead_s: float = 0.0, changed_at: float = 0.0
    ) -> TransactionCut:
        """The regular cut. The next is earlier by the time that a transaction takes (`lead_s`), so that outputs made
        right after this one are committed an interval later. `changed_at`: when the first uncommitted change came."""
        due_at, due = min(now, max(self.next_cut, changed_at)), self.next_cut + self._interval_s - lead_s
        self.next_cut = due if due > now else now + self._interval_s - lead_s
        return TransactionCut(self._offsets(owned), self._copies(owned, now), due_at=due_at)

    def take_last(
        self, owned: Mapping[StreamPartition, Owned], leaving: frozenset[StreamPartition], receipt: Receipt
    ) -> TransactionCut:
        """The cut after which `leaving` are released: with their states, however recently those were saved."""
        gone = {at: owned[at] for at in leaving}
        until = time.monotonic() + COPY_WAIT_S
        for each in gone.values():
            each.copy_arrived.wait(max(0.0, until - time.monotonic()))
        return TransactionCut(self._offsets(owned), self._copied(gone.values()), tuple(gone.values()), receipt)

    def _offsets(self, owned: Mapping[StreamPartition, Owned]) -> dict[StreamPartition, tuple[Owned, int]]:
        newest = ((at, each, each.take_uncommitted()) for at, each in owned.items())
        return {at: (each, offset) for at, each, offset in newest if offset is not None}

    def _copies(self, owned: Mapping[StreamPartition, Owned], now: float) -> tuple[tuple[Owned, StateCopy], ...]:
        """Copies of the states whose turn it is. Turns are spread over the interval, so that no transaction has to wait
        until all states are saved."""
        self._copy_at = {
            at: self._copy_at.get(at, now + self._checkpoint_interval_s * place / len(owned))
            for place, at in enumerate(owned)
        }
        due = [each for at, each in owned.items() if self._copy_at[at] <= now and self._may_copy(each)]
        copies: list[tuple[Owned, StateCopy]] = []
        for each in sorted(due, key=lambda each: self._copy_at[each.at]):  # the one that has waited longest first
            if not self._has_room():
                break
            turns = int((now - self._copy_at[each.at]) // self._checkpoint_interval_s) + 1
            self._copy_at[each.at] += turns * self._checkpoint_interval_s  # their turns stay spread
            copies += self._copied([each])
        return tuple(copies)

    def _has_room(self) -> bool:
        """For one more copy, however large it is."""
        on_their_way = [copy for copy in self._on_their_way if not copy[0].copy_arrived.is_set()]
        return sum(size for _, size in on_their_way) < self._copies_bytes_max

    def _copied(self, owned: Iterable[Owned]) -> tuple[tuple[Owned, StateCopy], ...]:
        copies = ((each, self._copy(each)) for each in owned if self._may_copy(each))
        return tuple((each, copy) for each, copy in copies if copy is not None)

    def _may_copy(self, owned: Owned) -> bool:
        return owned.has_changed and owned.copy_arrived.is_set() and not self._saver.is_away

    def _copy(self, owned: Owned) -> StateCopy | None:
        """None: the poll thread has released it meanwhile, or taken it again. What is made of it will be dropped."""
        owned.copied = owned.version
        try:
            copy = self._store.copy(
                owned.token,
                owned.state,
                model_version=owned.state.model_version,
                journal_position=owned.journaled.contained,
            )
        except OwnershipLost:
            return None
        self._on_their_way = [copy for copy in self._on_their_way if not copy[0].copy_arrived.is_set()]
        owned.copy_arrived.clear()
        self._on_their_way.append((owned, copy.bytes))
        return copy
