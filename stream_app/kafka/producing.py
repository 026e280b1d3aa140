"""Readings of a file → messages of an input topic, at a rate that does not depend on how fast the broker answers.

Knows the JSON shapes of readings (one reading, a pack) and a Kafka producer; knows nothing of streams and forecasts.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from model_core.arrays import IntArray
from stream_app.errors import TidecastError
from stream_app.tables import Table

Message = tuple[bytes, bytes]  # key, value

CHUNK_READINGS = 10_000
FLUSH_TIMEOUT_S = 30.0
PAUSE_S_MAX = 0.05  # so that delivery reports, the progress bar and Ctrl-C are served while we wait
TOPIC_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Pace:
    """Open loop: reading k is due k / rate after the start, whenever the readings before it really left."""

    per_second: float | None  # None: as fast as they can be sent

    def due(self, elapsed_s: float) -> float:
        """How many should have left by now."""
        return float("inf") if self.per_second is None else 1 + elapsed_s * self.per_second

    def wait_s(self, sent: int, elapsed_s: float) -> float:
        """How long until the next one is due."""
        return 0.0 if self.per_second is None else max(0.0, sent / self.per_second - elapsed_s)


def parse_rate(text: str, option: str = "--rate") -> Pace:
    """A rate: `max`, or readings a second. `option` is the option that has it, for the error."""
    if text == "max":
        return Pace(None)
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise TidecastError(f"{option}: expected a number of readings a second, or max, found {text!r}")
    return Pace(rate)


def single_messages(table: Table, separator: str | None) -> Iterator[list[Message]]:
    """One message a reading, in chunks. Key: the series id, or with a separator the entity before it."""
    keys = [_entity(name, separator)[0].encode() for name in table.series_ids]
    heads = [f'{{"series_id":{json.dumps(name)},"timestamp":"' for name in table.series_ids]
    for start in range(0, len(table), CHUNK_READINGS):
        part = slice(start, start + CHUNK_READINGS)
        series, values = table.series[part].tolist(), table.values[part].tolist()
        times = _rfc3339(table.timestamps_ms[part])
        yield [
            (keys[code], f'{heads[code]}{at}","value":{value!r}}}'.encode())
            for code, at, value in zip(series, times, values, strict=True)
        ]


def pack_messages(table: Table, separator: str | None, default_key: str) -> Iterator[list[Message]]:
    """One message for all readings of an entity at one moment. Without a separator the whole file is one entity."""
    parts = [_entity(name, separator) if separator else ("", name) for name in table.series_ids]
    packs = _packs(table, parts)
    while chunk := list(islice(packs, CHUNK_READINGS)):
        yield [_pack_message(*pack, default_key=default_key) for pack in chunk]


def _packs(table: Table, parts: list[tuple[str, str]]) -> Iterator[tuple[str, int, dict[str, float]]]:
    """(entity, time, variable → value), in event-time order; a repeated variable begins a new pack."""
    now: int | None = None
    open_packs: dict[str, dict[str, float]] = {}
    columns = zip(table.series.tolist(), table.timestamps_ms.tolist(), table.values.tolist(), strict=True)
    for code, at, value in columns:
        if at != now:
            yield from ((entity, now or 0, values) for entity, values in open_packs.items())
            open_packs, now = {}, at
        entity, variable = parts[code]
        values = open_packs.setdefault(entity, {})
        if variable in values:
            yield entity, at, values
            values = open_packs[entity] = {}
        values[variable] = value
    yield from ((entity, now or 0, values) for entity, values in open_packs.items())


def _pack_message(entity: str, at_ms: int, values: dict[str, float], *, default_key: str) -> Message:
    pack: dict[str, Any] = {"entity": entity} if entity else {}
    pack |= {"timestamp": _rfc3339(np.array([at_ms]))[0], "values": values}
    return (entity or default_key).encode(), json.dumps(pack, separators=(",", ":")).encode()


def _entity(name: str, separator: str | None) -> tuple[str, str]:
    entity, _, variable = name.rpartition(separator) if separator else ("", "", "")
    return (entity, variable) if entity else (name, "")


def _rfc3339(timestamps_ms: IntArray) -> list[str]:
    unit: Literal["s", "ms"] = "ms" if np.any(timestamps_ms % 1000) else "s"
    texts = np.datetime_as_string(timestamps_ms.astype("datetime64[ms]"), unit=unit, timezone="UTC")
    return list(texts.tolist())


class ReadingsProducer:
    """An idempotent producer for one topic. `sent` counts what the broker has acknowledged once `flush` returned."""

    def __init__(self, topic: str, client: Mapping[str, Any]) -> None:
        """`client`: librdkafka properties, bootstrap.servers among them."""
        from confluent_kafka import Producer

        self.topic = topic
        self._failed = 0
        self._first_failure = ""
        self._handed = 0
        # The record's own timestamp stays the time of sending: with the event time of old data, the broker's retention
        # would delete a segment as soon as it is closed.
        self._producer = Producer(
            {
                "linger.ms": 10,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 200_000,
                **client,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "delivery.report.only.error": True,
                "on_delivery": self._on_delivery,
            }
        )

    @property
    def sent(self) -> int:
        return self._handed - self._failed - len(self._producer)

    def send(
        self,
        chunks: Iterator[list[Message]],
        pace: Pace,
        *,
        progress: Callable[[int], None] = lambda handed: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hand over all messages at the pace. `progress` gets the count so far, at least every 50 ms."""
        start = clock()
        for chunk in chunks:
            at = 0
            while at < len(chunk):
                elapsed = clock() - start
                number = int(min(pace.due(elapsed) - self._handed, len(chunk) - at))
                if number > 0:
                    self._hand_over(chunk[at : at + number])
                    at += number
                    progress(self._handed)
                self._producer.poll(0 if number > 0 else min(pace.wait_s(self._handed, elapsed), PAUSE_S_MAX))
                self._check()

    def flush(self) -> None:
        """Wait until everything handed over is acknowledged; TidecastError says how much is not."""
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        self._check()
        if left:
            raise TidecastError(
                f"The broker did not acknowledge {left} of {self._handed} messages to {self.topic} within "
                f"{FLUSH_TIMEOUT_S:.0f} s. Is it still running?"
            )

    def _hand_over(self, messages: list[Message]) -> None:
        produce, topic = self._producer.produce, self.topic
        for key, value in messages:
            while True:
                try:
                    produce(topic, value, key)
                    break
                except BufferError:  # the broker is slower than we are
                    self._producer.poll(PAUSE_S_MAX)
                    self._check()
            self._handed += 1

    def _on_delivery(self, error: Any, message: Any) -> None:
        self._failed += 1
        self._first_failure = self._first_failure or error.str()

    def _check(self) -> None:
        if self._failed:
            raise TidecastError(
                f"{self._failed} messages to {self.topic} were not accepted, the first because of: "
                f"{self._first_failure}. {self.sent} of {self._handed} were."
            )


def create_topic(
    topic: str, partitions: int, client: Mapping[str, Any], *, config: Mapping[str, str] | None = None
) -> None:
    """Replication as the broker's default. A topic that is there already is left as it is."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(dict(client))
    new = NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=dict(config or {}))
    try:
        admin.create_topics([new], operation_timeout=TOPIC_TIMEOUT_S)[topic].result(TOPIC_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise TidecastError(f"The broker refused to create topic {topic!r}: {error.args[0].str()}") from error
