"""At least once: outputs are acknowledged first, then the input offsets are committed; no transaction around them.

The same steps as exactly_once.py. After a crash between the two, the same outputs are published again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stream_app.delivery.commits import CommitFailed, CommitRequest, OffsetCommits
from stream_app.delivery.failures import ProducerLost
from stream_app.delivery.producer import OutputProducer
from stream_app.outbox import Outbox
from stream_app.poll_batch import StreamPartition

if TYPE_CHECKING:
    from stream_app.assignment import Owned
    from stream_app.settings import Settings


class AtLeastOnce:
    """`begin`, `commit` and `abort` have nothing to do."""

    is_transactional = False

    def __init__(self, settings: Settings, properties: Mapping[str, Any], commits: OffsetCommits) -> None:
        self._properties = properties
        self._commits = commits
        self._publish_s = settings.limits.publish_deadline / 1000
        self._commit_s = settings.limits.commit_deadline / 1000
        self._producer: OutputProducer | None = None

    def open(self) -> None:
        self._producer = OutputProducer(self._properties)

    def begin(self) -> None: ...

    def produce(self, outbox: Outbox) -> None:
        self._there().produce(outbox, self._publish_s)

    def flush(self) -> None:
        self._there().flush(self._publish_s)

    def ask(self, offsets: Mapping[StreamPartition, tuple[Owned, int]]) -> CommitRequest:
        return CommitRequest(offsets, self._commit_s)

    def send_offsets(self, request: CommitRequest) -> frozenset[StreamPartition]:
        """Through the poll thread. Partitions that are no longer ours are left out: their new owner does them again."""
        if not request.offsets:
            return frozenset()
        try:
            return self._commits.commit(request)
        except CommitFailed as failure:
            raise ProducerLost(str(failure)) from failure

    def commit(self) -> None: ...

    def abort(self) -> None: ...

    def abandon(self) -> None:
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None

    def _there(self) -> OutputProducer:
        if self._producer is None:
            raise ProducerLost("there is no producer")
        return self._producer
