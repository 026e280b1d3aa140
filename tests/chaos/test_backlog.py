"""A long backlog: memory stays flat while it drains, and every reading is in a forecast or in the state."""

from __future__ import annotations

import time

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.app.running_worker import START_MS, STEP_MS, World, wait_until
from tests.app.saved_states import saved_state

MIB = 1 << 20
PARTITIONS, SERIES, EVERY = 4, 1000, 12
# What the client fetches ahead (128 MiB), and queues that fill up only under load, may come on top of the first look.
GROWTH_MAX = 256 * MIB
# A broker that has just started knows no coordinator of the group before a member asks for it.
NOT_YET = {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE}
STREAM = f'forecast_every = {EVERY}\nmax_watermark_jump = "365d"'


@pytest.fixture
def partitions() -> int:
    return PARTITIONS


def send_backlog(world: World, count: int) -> int:
    """`count` readings in event-time order, each series on one partition; how many ticks that is."""
    own: dict[str, object] = {"queue.buffering.max.messages": 500_000, "linger.ms": 20, "compression.type": "lz4"}
    own["enable.idempotence"] = True  # a batch that a broker refuses at first must not come after the next one
    producer = Producer({"bootstrap.servers": world.bootstrap} | own)
    ticks = count // SERIES
    for tick in range(ticks):
        at = START_MS + tick * STEP_MS
        for partition in range(PARTITIONS):
            batch = [
                {
                    "key": f"s{series}",
                    "value": f'{{"series_id":"s{series}","timestamp":{at},"value":{10 + (tick + series) % 7}}}',
                }
                for series in range(partition, SERIES, PARTITIONS)
            ]
            while producer.produce_batch(world.topic, batch, partition=partition) < len(batch):
                batch = [each for each in batch if each.pop("_error", None) is not None]
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(120) == 0
    return ticks


def committed(consumer: Consumer, topic: str) -> int:
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    try:
        return sum(max(0, int(each.offset)) for each in consumer.committed(places, timeout=20))
    except KafkaException as error:
        if error.args[0].code() in NOT_YET:
            return 0
        raise


def published(world: World) -> int:
    return sum(1 for message in world.published("a", "forecasts") if message.value())


def drain(world: World, count: int, warm: int) -> None:
    ticks = send_backlog(world, count)
    total = ticks * SERIES
    config = world.deployment("a", stream=STREAM, checkpoint_interval="1s")
    config.write_text(config.read_text().replace('accuracy = "records"', 'accuracy = "summary"'))
    worker = world.start(config)
    process = psutil.Process(worker.process.pid)
    consumer = Consumer({"bootstrap.servers": world.bootstrap, "group.id": f"{world.topic}.a"})
    first, samples, done = 0.0, [], 0
    while done < total:
        assert worker.process.poll() is None, worker.log_path.read_text()[-3000:]
        done = committed(consumer, world.topic)
        first = first or (time.monotonic() if done else 0.0)
        samples.append((done, process.memory_info().rss))
        time.sleep(0.1)
    consumer.close()
    before = max((rss for at, rss in samples if at <= warm), default=samples[0][1])
    after = max((rss for at, rss in samples if at > warm), default=0)
    print(
        f"\nbacklog of {total} readings: {total / max(1e-9, time.monotonic() - first):,.0f} readings/s, "
        f"RSS {before / MIB:.0f} MiB in the first {warm}, then at most {after / MIB:.0f} MiB"
    )
    assert after - before <= GROWTH_MAX
    due = SERIES * sum(1 for tick in range(ticks) if (START_MS // STEP_MS + tick) % EVERY == 0)
    # Brokers end a transaction partition by partition: its offsets may count a moment before its outputs do.
    wait_until(lambda: published(world) >= due, 30, f"{due} forecasts")
    assert worker.stop(60) == 0
    assert published(world) == due
    offsets = [saved_state(world, config, partition).next_offset for partition in range(PARTITIONS)]
    assert sum(offsets) == total


@pytest.mark.timeout(300)
def test_memory_stays_flat_over_a_backlog_and_nothing_is_left_out(world: World) -> None:
    drain(world, 200_000, warm=100_000)


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_memory_stays_flat_over_five_million_readings(world: World) -> None:
    drain(world, 5_000_000, warm=1_000_000)
