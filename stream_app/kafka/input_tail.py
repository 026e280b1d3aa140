"""The newest readings of an input topic, for people: a sample of the present, never all of a fast stream."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

from model_core.spec import StreamSpec
from stream_app.kafka.topic_follower import TopicFollower
from stream_app.wire import decoder
from stream_app.wire.framing import Schemas
from stream_app.wire.message_columns import MessageColumns

NO_MESSAGES = MessageColumns.of([])
NEWEST_MESSAGES = 2_000  # a partition: what a frame looks at, at most


class InputTail:
    """`read` gives what came since the last call, or only the newest of it when that is too much."""

    def __init__(self, spec: StreamSpec, client: Mapping[str, Any], schemas: Schemas | None = None) -> None:
        self._spec = spec
        self._decode = decoder(spec, schemas)
        self._follower = TopicFollower([spec.topic], client, newest=NEWEST_MESSAGES)

    def read(self) -> Iterator[tuple[str, int, float]]:
        """(series_id, start of the reading's tick in ms since the epoch, value)."""
        self._follower.forget_what_is_too_old()
        messages = self._follower.poll(0.01).get(self._spec.topic, NO_MESSAGES)
        partitions = max(1, self._follower.partition_count(self._spec.topic))
        decoded = self._decode(
            self._spec, messages, now_ms=int(time.time() * 1000), partition_count=partitions, replay=None
        )
        grid = self._spec.grid
        for readings in decoded.readings.values():
            starts = grid.starts_ms(grid.ticks(readings.timestamps_ms))
            yield from zip(readings.series_ids, starts.tolist(), readings.values.tolist(), strict=True)

    def refresh(self) -> list[str]:
        """Looks for a topic or partitions that are new; the topic, if it is not there."""
        return self._follower.refresh()

    def caught_up(self) -> bool:
        """Whether it has read what was the newest when it began."""
        return self._follower.caught_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.close()
