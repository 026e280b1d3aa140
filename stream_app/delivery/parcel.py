"""What the pipeline hands to the publisher: outputs, and the cuts up to which everything is to be committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream_app.delivery.outbox import Outbox
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Receipt

if TYPE_CHECKING:
    from stream_app.checkpoints import StateCopy
    from stream_app.partitions.owned import Owned


@dataclass(frozen=True)
class TransactionCut:
    """What to commit once the outboxes handed over so far are published."""

    offsets: Mapping[StreamPartition, tuple[Owned, int]]
    checkpoints: tuple[tuple[Owned, StateCopy], ...] = ()
    released: tuple[Owned, ...] = ()  # let go of them after the checkpoint
    receipt: Receipt | None = None
    due_at: float | None = None  # when it was due (time.monotonic()); None: it was not a regular one


@dataclass(frozen=True)
class Parcel:
    """Outputs to send now, and perhaps a cut to complete after them. `rewinds`: their number when it was made."""

    outbox: Outbox
    cut: TransactionCut | None = None
    rewinds: int = 0
