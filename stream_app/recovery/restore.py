"""Where a partition begins: its state from Redis, its offsets from Kafka, its decisions from the journal.

The state knows the offset it includes (S), Kafka the offset up to which outputs were published (C), and S ≤ C, because
a state is saved after the commit. Reading begins at S; up to C everything is computed and nothing is sent; from C on
outputs are sent. Without a state, reading begins at the start of the log. Anything else is refused, with the command
that mends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import structlog
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException

from model_core.columns import Coming, Piece
from model_core.partition import PartitionState
from model_core.rebuilt import Rebuilt
from stream_app.checkpoints import CheckpointStore, Identity, OwnerToken, Restored, StateMismatch
from stream_app.errors import KafkaAway
from stream_app.kafka.clients import describe_error, reader_properties
from stream_app.partitions.journaled import Decision, Journaled, Kind
from stream_app.partitions.names import InputTopics, StreamPartition
from stream_app.partitions.owned import Owned
from stream_app.recovery.journal import read_journals
from stream_app.recovery.rebuild import rebuild_from

if TYPE_CHECKING:
    from model_core.bundle import ModelFacts
    from stream_app.settings import Settings

STATES_AT_ONCE = 2  # touching new memory is half of the work, and the kernel does it in each thread
log = structlog.get_logger(__name__)


class Restorer:
    """Runs in the poll thread, in the consumer's callback: other partitions wait for it, the group does not.

    `facts(stream, version)`: what a state needs to know of the model in charge.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: CheckpointStore,
        facts: Callable[[str, str | None], ModelFacts],
        identities: Mapping[str, Identity],
    ) -> None:
        self._settings = settings
        self._inputs = InputTopics(settings.streams)
        self._timeout_s = settings.limits.kafka_timeout / 1000
        self._store = store
        self._facts = facts
        self._identities = identities
        # Whose offset is older than its state: since when, and when it was seen last (time.monotonic()).
        self._behind: dict[StreamPartition, tuple[float, float]] = {}

    def restore(
        self, consumer: Consumer, partitions: Sequence[StreamPartition], answered: Mapping[StreamPartition, int]
    ) -> Iterable[Owned]:
        """`answered`: up to where partitions were published, as far as this worker knows.

        TidecastError where the state does not fit the log; StoreUnavailable, KafkaAway: later.
        """
        for at in partitions:
            self._check_count(at)
        committed = self._committed(consumer, partitions)
        with ThreadPoolExecutor(1 + STATES_AT_ONCE, "restore") as threads:
            journals = threads.submit(
                read_journals, reader_properties(self._settings), self._settings.streams, partitions, self._timeout_s
            )
            read = list(threads.map(self._read_state, partitions))  # after a failure no other is begun
            decisions = journals.result()
        return [
            self._own(consumer, at, token, restored, committed[at], answered.get(at, 0), decisions[at])
            for at, (token, restored) in zip(partitions, read, strict=True)
        ]

    def _read_state(self, at: StreamPartition) -> tuple[OwnerToken, Restored[PartitionState] | None]:
        spec = self._settings.streams[at.stream]

        def build(meta: dict[str, Any], ids: list[bytes], pieces: Iterable[Piece | Coming]) -> PartitionState:
            facts = self._facts(at.stream, meta["model_version"])
            return PartitionState.restore(spec, at.partition, meta, ids, pieces, facts)

        token = self._store.acquire(at.stream, at.partition, spec, self._identities[at.stream])
        return token, self._store.read(token, build)

    def _own(
        self,
        consumer: Consumer,
        at: StreamPartition,
        token: OwnerToken,
        restored: Restored[PartitionState] | None,
        committed: int | None,
        answered: int,
        decisions: list[Decision],
    ) -> Owned:
        spec = self._settings.streams[at.stream]
        first, last = self._ends(consumer, at)
        if committed is not None and max(first, committed) < answered:
            committed = self._unless_forgotten(at, committed, answered)
        if committed is not None and committed > last:
            self._refuse_shorter_log(at, committed, last)
        if restored is None:
            state, contained = PartitionState(spec, at.partition), 0
            start, emit_from = self._without_state(at, state, committed, first, last)
            state.next_offset = start
        else:
            start, emit_from = self._with_state(at, restored, committed, first)
            state, contained = restored.state, restored.header.journal_position or 0
        _check_kinds(at, decisions, contained)
        return Owned(
            at=at,
            spec=spec,
            state=state,
            token=token,
            start_offset=start,
            emit_from=emit_from,
            journaled=Journaled.after(decisions, contained, start),
            never_committed=committed is None,
        )

    def _check_count(self, at: StreamPartition) -> None:
        known = self._identities[at.stream].partition_count
        if at.partition >= known:
            raise StateMismatch(
                f"Expected the topic of stream {at.stream} to have {known} partitions, as at this worker's start; "
                f"found partition {at.partition}. Keys have moved between partitions, nothing is lost: go on under a "
                "new application_id (and output prefix), which reprocesses the log."
            )

    def _without_state(
        self, at: StreamPartition, state: PartitionState, committed: int | None, first: int, last: int
    ) -> tuple[int, int]:
        """(where to begin, where to emit from); `state` is empty, and told when it will be of a part of its log."""
        if committed is None:
            start = first if self._settings.kafka.auto_offset_reset == "earliest" else last
            return start, start
        if first == 0:
            return first, committed
        start, emit_from = first, max(first, committed)
        if first < committed:
            start = rebuild_from(
                reader_properties(self._settings),
                state.spec.topic,
                at.partition,
                first=first,
                committed=committed,
                context_ms=state.spec.rebuild_ms,
                timeout_s=self._timeout_s,
            )
        state.rebuilt = Rebuilt(emit_from, state.spec.context_length)
        log.warning(
            "rebuilt from what the log still has, calibration is learned anew",
            partition=str(at),
            first_offset=start,
            committed=committed,
        )
        return start, emit_from

    def _with_state(
        self, at: StreamPartition, restored: Restored[PartitionState], committed: int | None, first: int
    ) -> tuple[int, int]:
        """(where to begin, where to emit from)"""
        next_offset = restored.header.next_offset
        options = (
            f"`tidecast reset --stream {at.stream} --to earliest | TIMESTAMP` begins there with an empty state; "
            f"`tidecast reset --stream {at.stream} --resume-from-state` goes on after what the state contains"
        )
        if committed is None or committed < next_offset:
            found = "none" if committed is None else str(committed)
            expected = (
                f"Expected the committed offset of {at} to be at least {next_offset}, as the state in Redis says; "
                f"found {found}"
            )
            self._wait_for_offset(at, expected)
            raise StateMismatch(f"{expected}: the group was reset, or its offsets expired. {options}.")
        if first > next_offset:
            raise StateMismatch(
                f"Expected the log of {at} to reach back to offset {next_offset}, where its state ends; it begins at "
                f"{first}: readings were deleted before they were read. {options}."
            )
        return next_offset, committed

    def _unless_forgotten(self, at: StreamPartition, committed: int, answered: int) -> int:
        """Offsets only rise while the group has members. Where a coordinator has lost one for good, we know better."""
        self._wait_for_offset(
            at,
            f"Expected the committed offset of {at} to be at least {answered}, which this worker has committed; found "
            f"{committed}",
        )
        log.warning("committed offset was forgotten", partition=str(at), found=committed, goes_on_from=answered)
        return answered

    def _refuse_shorter_log(self, at: StreamPartition, committed: int, last: int) -> NoReturn:
        """What comes now has offsets of readings that were answered before, and would be taken for answered as well."""
        expected = (
            f"Expected the log of {at} to reach offset {committed}, up to which it is answered; found its end at {last}"
        )
        self._wait_for_offset(at, expected)
        raise StateMismatch(
            f"{expected}: the brokers lost readings, or the topic is another one. `tidecast reset --stream {at.stream} "
            "--to earliest | TIMESTAMP` begins there with an empty state."
        )

    def _wait_for_offset(self, at: StreamPartition, found: str) -> None:
        """KafkaAway at first: a coordinator that has just started may answer while it still reads its log (seen), and a
        leader perhaps as well."""
        now = time.monotonic()
        since, seen = self._behind.get(at, (now, now))
        since = since if now < seen + self._timeout_s else now  # it was somebody else's meanwhile
        self._behind[at] = since, now
        if now < since + self._timeout_s:
            raise KafkaAway(f"{found}. It is asked for again: a broker that has just started may not know it yet.")

    def _ends(self, consumer: Consumer, at: StreamPartition) -> tuple[int, int]:
        """(first offset, one after the last) of the log."""
        try:
            first, last = consumer.get_watermark_offsets(self._inputs.place(at), timeout=self._timeout_s, cached=False)
        except KafkaException as error:
            raise KafkaAway(f"Expected Kafka to tell the ends of {at}, found: {describe_error(error)}.") from error
        return int(first), int(last)

    def _committed(
        self, consumer: Consumer, partitions: Sequence[StreamPartition]
    ) -> dict[StreamPartition, int | None]:
        try:
            found = consumer.committed([self._inputs.place(at) for at in partitions], timeout=self._timeout_s)
        except KafkaException as error:
            # Also while a transaction with offsets of these partitions is open: its worker was killed, perhaps.
            raise KafkaAway(f"Expected Kafka to tell the committed offsets, found: {describe_error(error)}.") from error
        return {self._inputs.at(each): None if each.offset == OFFSET_INVALID else each.offset for each in found}


def _check_kinds(at: StreamPartition, decisions: Iterable[Decision], contained: int) -> None:
    """A decision of a kind that is not known here can only be followed by who made it."""
    for decision in decisions:
        if decision.number > contained and decision.kind not in get_args(Kind):
            raise StateMismatch(
                f"Expected the decisions that the journal of {at} has beyond its state to be of the kinds "
                f"{', '.join(get_args(Kind))}; found {decision.kind!r}: another version of tidecast made it. Run that "
                "version, or go on under a new application_id (and output prefix), which reprocesses the log."
            )
