"""What the formats share: the messages of one stream's poll → columns by partition, dead letters, verdicts of the
clock.

Deletions, keys, sizes, halving what fails to decode, and the handling of faults are the same for all. A format says how
values become readings, all at once and one by one, with the same result.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from model_core.arrays import BoolArray, IntArray
from model_core.spec import StreamSpec
from stream_app.wire.columns import PollColumns, by_partition
from stream_app.wire.decoded import NOT_THE_FORMAT, DeadLetter, DecodedPoll, Message, ReplayVerdicts
from stream_app.wire.json_text import WHITE
from stream_app.wire.message_columns import Bytes, MessageColumns
from stream_app.wire.one_message import Fault, OneMessage
from stream_app.wire.series_ids import fault_of, from_key, includes
from stream_app.wire.verdicts import judge

# A poll that fails is halved until the bad messages stand alone; below this it is decoded one by one.
ONE_BY_ONE = 8
READINGS_NAMED_MAX = 32  # in the header of one dead letter


def chosen(items: list[Any], indices: IntArray) -> list[Any]:
    """The items at rising indices; the list itself if that is all of them."""
    return items if len(indices) == len(items) else [items[index] for index in indices.tolist()]


class Poll(ABC):
    """One poll on its way to columns; indices are those of `messages`."""

    # --- what a format says ---

    def at_once(self, joined: Bytes, count: int) -> PollColumns | None:
        """Read all messages of a poll, as MessageColumns joins them; None if any is unusual in some way."""
        return None

    @abstractmethod
    def together(self, indices: IntArray, *, begun: bool) -> PollColumns | None:
        """Messages that have a key where one is needed, and a value; None where any needs a closer look.

        `begun`: `at_once` has looked at them.
        """

    @abstractmethod
    def one(self, index: int, value: bytes, key: bytes | None, record_ms: int) -> OneMessage:
        """One message in plain steps; `record_ms` is Kafka's timestamp."""

    def deletes(self, value: bytes) -> bool:
        """Whether a message deletes its series, as a null value does."""
        return value.strip(WHITE) == b"null"

    # --- what formats ask for ---

    def values(self, indices: IntArray) -> list[bytes]:
        """Of messages that have one."""
        return chosen(self._messages.values, indices)

    def lines(self, indices: IntArray) -> bytes:
        """The same with a newline between each two: of a whole poll, as it came from C, without cutting it up first."""
        joined = self._messages.joined if len(indices) == len(self._messages) else None
        return b"\n".join(self.values(indices)) if joined is None else joined[:-1].tobytes()

    # --- what is the same for all ---

    def __init__(self, spec: StreamSpec, messages: Sequence[Message], partition_count: int) -> None:
        self._spec = spec
        self._messages = MessageColumns.of(messages)
        self._needs_key = partition_count > 1
        self._faults: dict[int, list[Fault]] = {}
        self._deletions: dict[int, list[tuple[int, str]]] = {}
        self._excluded = 0

    def decode(self, now_ms: int, replay: Mapping[int, ReplayVerdicts]) -> DecodedPoll:
        """Values → columns, then what `include` and the clocks leave of them. To be called once."""
        if not self._messages:
            return DecodedPoll({})
        keyed, joined = not self._needs_key or bool(self._messages.key_bytes.min() >= 0), self._messages.joined
        columns = self.at_once(joined, len(self._messages)) if keyed and joined is not None else None
        if columns is None:
            columns = self._columns(self._set_aside(keyed=keyed), begun=True)
        columns = self._include(columns)
        for deletions in self._deletions.values():
            deletions.sort(key=lambda deletion: deletion[0])
        times = judge(self._spec, columns, self._messages, now_ms, replay)
        for index, detail in times.details.items():
            fault = Fault("timestamp_out_of_range", detail, columns.series_ids[index])
            self._faults.setdefault(int(columns.messages[index]), []).append(fault)
        return DecodedPoll(
            readings=by_partition(columns.where(times.kept), self._messages, self._deletions),
            dead_letters=self._dead_letters(columns.where(times.kept)),
            clock_rejections=times.clock_rejections,
            malformed=self._malformed(columns),
            excluded=self._excluded,
        )

    # --- messages that are no readings ---

    def _set_aside(self, *, keyed: bool) -> IntArray:
        """Set aside deletions, and messages that are too large or have no key; returns the indices of the others."""
        size_max = self._spec.reading_bytes_max
        sizes = self._messages.value_bytes
        if keyed and sizes.min() > 0 and sizes.max() <= size_max:
            return np.arange(len(sizes))
        rest: list[int] = []
        for index, (value, key) in enumerate(zip(self._messages.values, self._messages.keys, strict=True)):
            if value is not None and len(value) > size_max:
                detail = f"the message has {len(value)} bytes, reading_bytes_max is {size_max}"
                self._faults[index] = [Fault("too_large", detail)]
            elif key is None and self._needs_key:
                detail = "expected a message key, which keeps a series on one partition, found none"
                self._faults[index] = [Fault("unkeyed", detail)]
            elif value is None:
                self._delete(index, key)
            else:
                rest.append(index)
        return np.array(rest, np.int64)

    def _delete(self, index: int, key: bytes | None) -> None:
        series_id = from_key(key)
        fault = "there is none" if key is None else "it is no UTF-8" if series_id is None else fault_of(series_id)
        if series_id is None or fault is not None:
            detail = f"a null value deletes the series that the message key names: {fault}"
            self._faults[index] = [Fault("malformed", detail)]
            return
        takes = includes(self._spec)
        if takes is not None and not takes(series_id):
            self._excluded += 1
            return
        partition, offset = int(self._messages.partitions[index]), int(self._messages.offsets[index])
        self._deletions.setdefault(partition, []).append((offset, series_id))

    # --- readings ---

    def _columns(self, indices: IntArray, *, begun: bool = False) -> PollColumns:
        """Decode together if possible, else in halves, in the end one by one. `begun`: they are not all plain."""
        if not len(indices):
            return PollColumns.concatenate([])
        together = self.together(indices, begun=begun)
        if together is not None:
            return PollColumns(
                together.series_ids,
                together.timestamps_ms,
                together.values,
                indices[together.messages],
                together.positions,
            )
        if len(indices) > ONE_BY_ONE:
            middle = len(indices) // 2
            return PollColumns.concatenate([self._columns(indices[:middle]), self._columns(indices[middle:])])
        return self._one_by_one(indices)

    def _one_by_one(self, indices: IntArray) -> PollColumns:
        found = OneMessage()
        messages: list[int] = []
        times: list[int] = []
        keys = chosen(self._messages.keys, indices)
        for index, value, key in zip(indices.tolist(), self.values(indices), keys, strict=True):
            if self.deletes(value):
                self._delete(index, key)
                continue
            record_ms = int(self._messages.record_ms[index])
            one = self.one(index, value, key, record_ms)
            if one.faults:
                self._faults[index] = one.faults
            self._excluded += one.excluded
            times += [record_ms if time is None else time for time in one.timestamps_ms]
            messages += [index] * len(one.series_ids)
            found.series_ids += one.series_ids
            found.values += one.values
            found.positions += one.positions
        return PollColumns.of(found.series_ids, times, found.values, messages, found.positions)

    def _include(self, columns: PollColumns) -> PollColumns:
        takes = includes(self._spec)
        if takes is None:
            return columns
        kept = np.fromiter(map(takes, columns.series_ids.tolist()), bool, len(columns))
        self._excluded += int(len(columns) - kept.sum())
        return columns.where(kept)

    # --- what could not be used ---

    def _dead_letters(self, accepted: PollColumns) -> list[DeadLetter]:
        letters = []
        partly = set(accepted.messages.tolist()) if self._faults else set()
        for index in sorted(self._faults):
            by_reason = sorted(self._faults[index], key=lambda fault: fault.reason)
            for _, group in groupby(by_reason, key=lambda fault: fault.reason):
                faults = list(group)
                some = index in partly or len(faults) < len(by_reason)
                letters.append(self._dead_letter(index, faults, some=some))
        return letters

    def _dead_letter(self, index: int, faults: list[Fault], *, some: bool) -> DeadLetter:
        """One for all faults of a message with the same reason, in the first one's words; `some`: others are usable."""
        detail = faults[0].detail if len(faults) == 1 else f"{faults[0].detail} (and {len(faults) - 1} more)"
        named = [fault.reading for fault in faults if some and fault.reading is not None]
        return DeadLetter.of(self._messages[index], faults[0].reason, detail, named[:READINGS_NAMED_MAX])

    def _malformed(self, columns: PollColumns) -> dict[int, BoolArray]:
        """Messages of which nothing could be used, by fault of their format."""
        flags = np.zeros(len(self._messages), bool)
        for index, faults in self._faults.items():
            flags[index] = any(fault.reason not in NOT_THE_FORMAT for fault in faults)
        if self._faults:
            flags[columns.messages] = False
        return {at: flags[where] for at, where in self._messages.part(np.arange(len(flags)))}


class Decoder:
    """A format's decoder: a function of messages, the worker's clock and what the journal remembers of it.

    A pure one, but for schemas, which come from a registry when they are first needed.
    """

    def __init__(self, begin: Callable[[StreamSpec, Sequence[Message], int], Poll]) -> None:
        """`begin(spec, messages, partition_count)`: a poll of the format."""
        self._begin = begin

    def __call__(
        self,
        spec: StreamSpec,
        messages: Sequence[Message],
        *,
        now_ms: int,
        partition_count: int,
        replay: Mapping[int, ReplayVerdicts] | None = None,
    ) -> DecodedPoll:
        """`partition_count` is that of the topic: with one, messages need no key. `replay` by partition."""
        return self._begin(spec, messages, partition_count).decode(now_ms, replay or {})
