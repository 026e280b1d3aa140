"""A partition while this worker owns it, and the receipt for its release."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_core.spec import StreamSpec
from stream_app.partitions.journaled import Journaled
from stream_app.partitions.names import StreamPartition

if TYPE_CHECKING:
    from model_core.partition import PartitionState
    from model_core.shadow import Shadow
    from stream_app.checkpoints import OwnerToken


@dataclass(eq=False)
class Owned:
    """One partition while it is ours; a new one for each assignment, so that identity tells two ownerships apart.

    `state`, `shadow`, `emit_from` and `journaled` belong to the pipeline's thread; `token`, `taken_again_at`,
    `is_ahead` and `saved_to` to the saver's.
    """

    at: StreamPartition
    spec: StreamSpec
    state: PartitionState
    token: OwnerToken
    start_offset: int  # where reading begins: the state's next_offset, or the start of the log
    emit_from: int  # outputs caused by earlier readings were published before: they are computed, not sent again
    journaled: Journaled
    never_committed: bool = False  # in a new deployment
    reached_end: bool = False
    offered_to: int = 0  # newest offset given to the publisher to commit
    copied: tuple[int, int] | None = None  # `version` of the newest copy of the state
    taken_again_at: float | None = None  # in Redis (time.monotonic()), and Kafka has taken no offset of it since
    is_ahead: bool = False  # its state is: the newest offset that was to be committed was not
    committed_to: int = field(init=False)  # newest offset that was committed since it is ours
    saved_to: int = field(init=False)  # next_offset of its newest checkpoint
    shadow: Shadow | None = None  # the candidate that runs beside its model
    copy_arrived: threading.Event = field(default_factory=threading.Event)  # none is on its way to the store

    def __post_init__(self) -> None:
        # Where a new deployment begins is committed before there is any reading: a checkpoint never stands without it,
        # and `auto_offset_reset` is asked once.
        self.offered_to = self.emit_from - self.never_committed
        self.committed_to = self.saved_to = self.start_offset
        self.copy_arrived.set()

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever the state does."""
        return self.state.next_offset, self.journaled.contained

    @property
    def has_changed(self) -> bool:
        return self.copied != self.version

    @property
    def _newest(self) -> int:
        """Never an offset below what is committed: a replay takes nothing back."""
        return max(self.state.next_offset, self.emit_from)

    def take_uncommitted(self) -> int | None:
        """The offset to commit, if there is a newer one."""
        newest, offered_to = self._newest, self.offered_to
        self.offered_to = max(offered_to, newest)
        return newest if newest > offered_to else None

    def commit_again(self) -> None:
        """What leaves without a new reading must be fenced as well: its offset is committed once more."""
        self.offered_to = min(self.offered_to, self._newest - 1)

    def note_committed(self, offset: int) -> None:
        """Publisher's thread, or the saver's where the answer comes later: Kafka has taken this offset."""
        self.committed_to = max(self.committed_to, offset)

    @property
    def answered_to(self) -> int:
        """What earlier readings led to is published: Kafka said so when it was taken, or has taken the offset since."""
        return max(self.emit_from, self.committed_to)

    @property
    def is_live(self) -> bool:
        """Replay is over: all that was published is in the state, and every journaled decision is."""
        caught_up = self.state.next_offset >= self.emit_from or self.reached_end
        return caught_up and not self.journaled.pending


class Receipt:
    """Tells the one who asked for a release that it is complete."""

    def __init__(self) -> None:
        self._done = threading.Event()

    def complete(self) -> None:
        self._done.set()

    def is_complete(self) -> bool:
        return self._done.is_set()

    def wait(self, timeout_s: float) -> bool:
        return self._done.wait(timeout_s)
