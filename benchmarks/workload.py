"""W1: what is read, and what has to come out of it. Knows nothing of workers.

single: one JSON reading a message with the series id as key. packed: 100 readings a message. lagging: each series is up
to eleven ticks behind the others, and speaks at its own moment of the step. staggered: and starts at a random tick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

STEP_S = 600
START_S = 1_700_000_000
PACK = 100  # readings a message
LAG_TICKS = 12
SEASON_TICKS = 24
TOPIC_TIMEOUT_S = 60
FLUSH_TIMEOUT_S = 300
SEED = 7

Shape = Literal["single", "packed", "lagging", "staggered"]
Message = dict[str, bytes]


@dataclass(frozen=True)
class Workload:
    """`series` × `ticks` readings; what a forecast of them looks like is the Shapes of the deployment."""

    topic: str
    series: int
    ticks: int
    shape: Shape = "single"
    partitions: int = 8
    first_tick: int = 0  # ticks after START_S at which it begins

    def __post_init__(self) -> None:
        if self.shape == "packed" and self.series % PACK:
            raise ValueError(f"expected a multiple of {PACK} series for packs, found {self.series}")

    @property
    def readings(self) -> int:
        return int((self.last_ticks - self.first_ticks + 1).sum())

    @property
    def messages(self) -> int:
        return self.readings // PACK if self.shape == "packed" else self.readings

    @property
    def is_disordered(self) -> bool:
        """Event times go up and down along the log."""
        return self.shape in ("lagging", "staggered")

    @cached_property
    def names(self) -> list[str]:
        width = max(5, len(str(self.series - 1)))
        return [f"s{number:0{width}d}" for number in range(self.series)]

    @cached_property
    def starts(self) -> np.ndarray:
        """Round of the log in which each series speaks first: int64 [S]."""
        if self.shape != "staggered":
            return np.zeros(self.series, np.int64)
        return np.random.default_rng(SEED).integers(0, max(1, self.ticks // 4), self.series)

    @cached_property
    def lags(self) -> np.ndarray:
        """How many ticks each series is behind the round: int64 [S]."""
        if not self.is_disordered:
            return np.zeros(self.series, np.int64)
        return np.random.default_rng(SEED + 1).integers(0, LAG_TICKS, self.series)

    @cached_property
    def phases_s(self) -> np.ndarray:
        """Seconds after the start of its step at which each series speaks: int64 [S]."""
        if not self.is_disordered:
            return np.full(self.series, START_S % STEP_S)
        return np.random.default_rng(SEED + 2).integers(0, STEP_S, self.series)

    @cached_property
    def order(self) -> np.ndarray:
        """Series in the order in which they speak within a round: int64 [S]."""
        return np.argsort(self.phases_s, kind="stable")

    @property
    def first_ticks(self) -> np.ndarray:
        """Tick, on the grid of the stream, of the first reading of each series."""
        return START_S // STEP_S + self.first_tick + self.starts - self.lags

    @property
    def last_ticks(self) -> np.ndarray:
        return START_S // STEP_S + self.first_tick + self.ticks - 1 - self.lags

    def values(self, round_: int) -> np.ndarray:
        """A season and noise, two decimals: float64 [S]."""
        tick = self.first_tick + round_ - self.lags
        return series_values(self.series, tick, np.random.default_rng([SEED, self.first_tick + round_]))

    def rounds(self) -> Iterator[list[Message]]:
        """The messages, one list a tick."""
        order = self.order
        keys = [name.encode() for name in self.names]
        for round_ in range(self.ticks):
            values = self.values(round_).tolist()
            if self.shape == "packed":
                yield self._packs(round_, values)
                continue
            speaking = order[self.starts[order] <= round_]
            ticks = START_S // STEP_S + self.first_tick + round_ - self.lags
            times = (ticks * STEP_S + self.phases_s).tolist()
            yield [
                {
                    "key": keys[s],
                    "value": b'{"series_id":"%b","timestamp":%d,"value":%r}' % (keys[s], times[s], values[s]),
                }
                for s in speaking.tolist()
            ]

    def _packs(self, round_: int, values: list[float]) -> list[Message]:
        time = (START_S // STEP_S + self.first_tick + round_) * STEP_S + START_S % STEP_S
        return [
            {
                "key": b"gw%05d" % (start // PACK),
                "value": b'{"timestamp":%d,"values":{%b}}'
                % (
                    time,
                    ",".join(
                        [
                            f'"{n}":{v}'
                            for n, v in zip(self.names[start : start + PACK], values[start : start + PACK], strict=True)
                        ]
                    ).encode(),
                ),
            }
            for start in range(0, self.series, PACK)
        ]


def series_values(series: int, tick: np.ndarray | int, rng: np.random.Generator) -> np.ndarray:
    number = np.arange(series)
    wave = 3 * np.sin(2 * np.pi * np.asarray(tick) / SEASON_TICKS + number)
    return np.round(10 + number % 17 + wave + rng.normal(0, 0.3, series), 2)


def create_topics(bootstrap: str, names: list[str], partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    for made in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
        made.result(TOPIC_TIMEOUT_S)


def delete_topics(bootstrap: str, names: list[str]) -> None:
    """So that one figure's data does not fill the disk of the next."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    for done in admin.delete_topics(names).values():
        done.exception(TOPIC_TIMEOUT_S)  # one that is not there is as good as deleted


def produce(bootstrap: str, workload: Workload) -> None:
    """Into a topic that exists; every message acknowledged when it returns."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 20,
            "batch.num.messages": 100_000,
            "queue.buffering.max.messages": 2_000_000,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
        }
    )
    # Without it the first messages wait for the partitions to be known, and later ones of the same key overtake them.
    producer.list_topics(workload.topic, TOPIC_TIMEOUT_S)
    for messages in workload.rounds():
        waiting = messages
        while waiting:
            producer.produce_batch(workload.topic, waiting)
            waiting = [message for message in waiting if message.pop("_error", None) is not None]
            producer.poll(0.1 if waiting else 0)
    left = producer.flush(FLUSH_TIMEOUT_S)
    if left:
        raise TimeoutError(f"expected all readings of {workload.topic} to be acknowledged, {left} were not")
