"""What `tidecast dead-letters accept` does: answer the holds of a stream, and see whether a worker takes it up."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from stream_app.checkpoints import connect
from stream_app.checkpoints.commands import reaching
from stream_app.dead_letters.holds import LOOK_S, Holds
from stream_app.partitions.names import StreamPartition

if TYPE_CHECKING:
    from stream_app.settings import Settings

PATIENCE_S = 5 * LOOK_S


def accept_held(settings: Settings, stream: str, partitions: Iterable[int]) -> dict[StreamPartition, bool]:
    """The partitions among these that were held → whether a worker has taken the answer up."""
    client = connect(settings.redis.url, timeout_s=settings.limits.redis_timeout / 1000, cluster=settings.redis.cluster)
    holds = Holds(client, settings.application_id)
    with closing(client), reaching("server at redis.url"):
        held = [at for each in partitions if holds.reason(at := StreamPartition(stream, each)) is not None]
        for at in held:
            holds.accept(at)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and not all(map(holds.is_answered, held)):
            time.sleep(0.1)
        return {at: holds.is_answered(at) for at in held}
