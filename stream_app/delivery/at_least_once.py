"""At least once: outputs are acknowledged first, then the input offsets are committed; no transaction around them.

The same steps as exactly_once.py. After a crash between the two, the same outputs are published again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stream_app.delivery.commits import CommitRequest, OffsetCommits
from stream_app.delivery.producer import Delivery
from stream_app.partitions.names import StreamPartition

if TYPE_CHECKING:
    from stream_app.partitions.owned import Owned
    from stream_app.settings import Settings


class AtLeastOnce(Delivery):
    """`begin`, `commit` and `abort` have nothing to do."""

    is_transactional = False

    def __init__(self, settings: Settings, properties: Mapping[str, Any], commits: OffsetCommits) -> None:
        super().__init__(settings, properties)
        self._commits = commits
        self._commit_s = settings.limits.commit_deadline / 1000

    def open(self) -> None:
        self._renew()

    def begin(self) -> None: ...

    def flush(self) -> None:
        self._there().flush(self._publish_s)

    def ask(self, offsets: Mapping[StreamPartition, tuple[Owned, int]]) -> CommitRequest:
        return CommitRequest(offsets, self._commit_s)

    def send_offsets(self, request: CommitRequest) -> CommitRequest:
        """Through the poll thread. Partitions that are no longer ours are left out: their new owner does them again.

        Outputs of the next cut may leave meanwhile; its commit waits for this one.
        """
        if request.offsets:
            self._commits.ask_commit(request)
        else:
            request.succeed(frozenset())
        return request

    def commit(self) -> None: ...

    def abort(self) -> None: ...
