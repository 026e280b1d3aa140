"""What Kafka says to a member that it took for dead, before the client's callback has said so.

The worker sends what was true when its partitions were given to it (stream_app/polling/membership.py). What the client
answers at the moment may be true of a later generation, in which others have them: that is shown as well, so that
nobody takes the one for the other again.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from stream_app.polling.membership import Membership
from tests.app.running_worker import wait_until
from tests.chaos import faulty_worker
from tests.chaos.broken_world import PATIENT_S, BrokenWorld

pytestmark = [pytest.mark.timeout(600), pytest.mark.services]


@pytest.fixture
def producer(world: BrokenWorld) -> Producer:
    made = Producer({"bootstrap.servers": world.bootstrap, "transactional.id": f"{world.topic}.a"})
    made.init_transactions(30)
    return made


def test_offsets_of_a_member_that_slept_are_refused_before_the_client_says_that_all_was_lost(
    world: BrokenWorld, producer: Producer
) -> None:
    assert world.kafka_proxy is not None
    membership, told = Membership(), list[str]()
    asleep, awake = world.kafka_proxy.address, world.bootstrap
    consumer = member(world, asleep)

    def on_assign(consumer_: Consumer, places: list[TopicPartition]) -> None:
        membership.note(consumer_)
        if places:
            told.append("assigned")

    consumer.subscribe(
        [world.topic],
        on_assign=on_assign,
        on_revoke=lambda _, places: told.append("revoked"),
        on_lost=lambda _, places: told.append("lost"),
    )
    wait_until(lambda: [consumer.consume(1, 0.1)] and told, PATIENT_S, "partitions")
    assert membership.is_current(consumer)
    assert membership.is_kept(consumer)
    at = [TopicPartition(world.topic, 0, 3)]
    commit(producer, at, membership.metadata)

    world.kafka_proxy.black_hole = True
    heir = member(world, awake)
    heir.subscribe([world.topic])
    # It is let in once the broker has given the other one up.
    wait_until(lambda: [heir.consume(1, 0.1)] and heir.assignment(), PATIENT_S, "another member to have the partitions")
    world.kafka_proxy.heal()
    wait_until(lambda: not membership.is_kept(consumer), PATIENT_S, "the client to hear that it is no member")
    assert not membership.is_current(consumer)
    with pytest.raises(KafkaException):
        commit(producer, at, membership.metadata)

    # Anything that is unassigned now is taken for the answer to the callback that waits, and the client joins again.
    consumer.incremental_unassign([TopicPartition(world.topic, 0)])
    consumer.incremental_assign([TopicPartition(world.topic, 0, 0)])
    wait_until(lambda: [heir.consume(1, 0.1)] and consumer.memberid(), PATIENT_S, "the client to join again")
    wait_until(lambda: accepted(producer, consumer, heir, world.topic), PATIENT_S, "its offsets to be taken")
    assert heir.committed(at, 30)[0].offset == 1, "Kafka does not ask who owns the partition"
    assert not membership.is_kept(consumer)
    with pytest.raises(KafkaException):
        commit(producer, at, membership.metadata)
    wait_until(lambda: [consumer.consume(1, 0.1)] and told[1:], PATIENT_S, "the callback that waits")
    assert told[1] == "revoked", "it does not say that they were lost"
    heir.close()
    consumer.close()


def test_what_is_made_of_lost_partitions_is_dropped_though_the_pipeline_forgets_them_first(
    world: BrokenWorld, tmp_path: Path
) -> None:
    """Their offsets are what Kafka refuses it by, and the pipeline commits none of what it has forgotten."""
    interval_s, asleep = 8, tmp_path / "asleep"
    slow, quick = (impatient(world, limits) for limits in (f'transaction_interval = "{interval_s}s"', ""))
    worker = faulty_worker.start(world, slow, held_poll_thread=str(asleep), late_to_tear=2)
    world.send_ticks(1)
    world.answered()
    answered_at = time.monotonic()
    asleep.touch()
    world.send_ticks(5)
    wait_until(world.is_given_up, PATIENT_S, "Kafka to have given the worker up")
    heir = world.start(quick)
    world.answered()
    wait_until(lambda: time.monotonic() > answered_at + interval_s, PATIENT_S, "the next cut to be due")
    asleep.unlink()
    worker.wait_for("lost", PATIENT_S)
    worker.wait_for("rewound", PATIENT_S)
    world.send_ticks(5)
    world.answered()
    assert heir.stop(PATIENT_S) == 0, heir.log_path.read_text()
    world.stop_and_judge(worker, quick)


def impatient(world: BrokenWorld, limits: str) -> Path:
    """A configuration of "a", for any number of workers: who does not poll for 6 s is no member any more."""
    path = world.deployment("a", limits=limits, checkpoint_interval="1h")
    interval = '"max.poll.interval.ms" = 6000\n"session.timeout.ms"'
    text = path.read_text().replace('"session.timeout.ms"', interval)
    path = path.with_stem(f"a-{len(limits)}")
    path.write_text(text)
    return path


def member(world: BrokenWorld, address: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": address,
            "group.id": f"{world.topic}.a",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "socket.timeout.ms": 10_000,
        }
    )


def accepted(producer: Producer, consumer: Consumer, heir: Consumer, topic: str) -> bool:
    """By the generation that the client knows now; while the group still agrees on it, not yet."""
    heir.consume(1, 0.1)
    try:
        commit(producer, [TopicPartition(topic, 0, 1)], consumer.consumer_group_metadata())
    except KafkaException:
        return False
    return True


def commit(producer: Producer, at: list[TopicPartition], metadata: bytes | None) -> None:
    producer.begin_transaction()
    try:
        producer.send_offsets_to_transaction(at, metadata, 30)
    except KafkaException:
        producer.abort_transaction(30)
        raise
    producer.commit_transaction(30)
