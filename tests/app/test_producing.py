"""A file arrives in Kafka once, in event-time order, at the pace that was asked for."""

import json
import signal
import subprocess
import sys
import time
from itertools import chain

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from stream_app.errors import TidecastError
from stream_app.kafka.producing import (
    Pace,
    ReadingsProducer,
    create_topic,
    pack_messages,
    parse_rate,
    single_messages,
)
from stream_app.tables import Table

TIDECAST = (sys.executable, "-c", "from stream_app.cli import main; main()")
START = 1_772_359_200_000  # 2026-03-01T10:00:00Z


def small_table() -> Table:
    """Two moments of a.temp, a.flow and b.temp; a.temp has two readings in the first."""
    return Table(
        ["a.temp", "a.flow", "b.temp"],
        np.array([0, 1, 2, 0, 0, 1]),
        START + np.array([0, 0, 0, 0, 500, 500]),
        np.array([1.0, 2.5, 3.0, 1.5, 0.1 + 0.2, -0.0]),
    )


def partitions_of(topic: str, client: dict) -> int | None:
    known = AdminClient(client).list_topics(timeout=10).topics
    return len(known[topic].partitions) if topic in known else None


def consumed(bootstrap: str, topic: str, partitions: int = 1) -> list[list[tuple[bytes, dict]]]:
    """Key and decoded value of all messages, by partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False})
    found = []
    for partition in range(partitions):
        place = TopicPartition(topic, partition, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        messages: list = []
        while len(messages) < end:
            messages += consumer.consume(1000, 1.0)
        found.append([(message.key(), json.loads(message.value())) for message in messages])
    consumer.close()
    return found


def test_one_message_a_reading_keeps_names_times_and_values_exactly():
    (messages,) = single_messages(small_table(), None)
    read = [json.loads(value) for _, value in messages]
    assert [key for key, _ in messages] == [b"a.temp", b"a.flow", b"b.temp", b"a.temp", b"a.temp", b"a.flow"]
    assert [reading["value"] for reading in read] == small_table().values.tolist()
    assert read[0] == {"series_id": "a.temp", "timestamp": "2026-03-01T10:00:00.000Z", "value": 1.0}
    assert read[-1]["timestamp"] == "2026-03-01T10:00:00.500Z"


def test_a_name_that_json_must_escape_comes_through():
    table = Table(['wärme "innen"\\'], np.array([0]), np.array([START]), np.array([1.0]))
    ((key, value),) = next(single_messages(table, None))
    assert key.decode() == json.loads(value)["series_id"] == table.series_ids[0]


def test_packs_hold_what_an_entity_said_at_one_moment_and_no_reading_replaces_another():
    (messages,) = pack_messages(small_table(), ".", "file")
    assert [(key.decode(), json.loads(value)["entity"], json.loads(value)["values"]) for key, value in messages] == [
        ("a", "a", {"temp": 1.0, "flow": 2.5}),
        ("a", "a", {"temp": 1.5}),
        ("b", "b", {"temp": 3.0}),
        ("a", "a", {"temp": 0.1 + 0.2, "flow": -0.0}),
    ]


def test_without_entities_the_whole_file_is_one_pack_a_moment_under_one_key():
    (messages,) = pack_messages(small_table(), None, "file")
    assert {key for key, _ in messages} == {b"file"}
    assert json.loads(messages[0][1])["values"] == {"a.temp": 1.0, "a.flow": 2.5, "b.temp": 3.0}


def test_the_pace_is_an_open_loop():
    pace = Pace(100.0)
    assert [int(pace.due(elapsed)) for elapsed in (0.0, 0.005, 0.01, 1.0)] == [1, 1, 2, 101]
    assert pace.wait_s(101, 1.0) == pytest.approx(0.01)
    assert pace.wait_s(50, 1.0) == 0.0, "what a stall held back leaves at once"


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf"])
def test_a_rate_that_is_none_is_refused(text):
    with pytest.raises(TidecastError, match="--rate: expected"):
        parse_rate(text)


def test_what_is_sent_arrives_once_and_in_order(kafka_bootstrap, topic_prefix):
    client = {"bootstrap.servers": kafka_bootstrap}
    topic = f"{topic_prefix}.in"
    assert partitions_of(topic, client) is None
    create_topic(topic, 2, client)
    create_topic(topic, 2, client)
    assert partitions_of(topic, client) == 2
    table = Table(
        [f"s{i}" for i in range(7)],
        np.arange(70_000) % 7,
        START + np.arange(70_000) * 1000,
        np.arange(70_000.0),
    )
    producer = ReadingsProducer(topic, client)
    producer.send(single_messages(table, None), Pace(None))
    producer.flush()
    assert producer.sent == 70_000
    partitions = consumed(kafka_bootstrap, topic, 2)
    assert all(len({key for key, _ in messages}) for messages in partitions), "both partitions are used"
    values = [[reading["value"] for _, reading in messages] for messages in partitions]
    assert all(found == sorted(found) for found in values)
    assert sorted(chain(*values)) == table.values.tolist()


def has_messages(topic, client):
    consumer = Consumer({**client, "group.id": topic})
    ends = [
        consumer.get_watermark_offsets(TopicPartition(topic, each), 10)[1]
        for each in range(partitions_of(topic, client))
    ]
    consumer.close()
    return any(ends)


@pytest.mark.usefixtures("services")
def test_ctrl_c_flushes_and_says_how_many_were_sent(kafka_bootstrap, topic_prefix, tmp_path):
    topic = f"{topic_prefix}.in"
    lines = "".join(f"2026-03-01 {n // 60:02d}:{n % 60:02d},{n}\n" for n in range(1200))
    (tmp_path / "file.csv").write_text("ts,a\n" + lines)
    arguments = ["produce", str(tmp_path / "file.csv"), "-t", topic, "--bootstrap", kafka_bootstrap]
    process = subprocess.Popen([*TIDECAST, *arguments, "--create-topic", "--rate", "20"], stderr=subprocess.PIPE)
    client = {"bootstrap.servers": kafka_bootstrap}
    while partitions_of(topic, client) is None or not has_messages(topic, client):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    (messages,) = consumed(kafka_bootstrap, topic)
    assert process.returncode == 130
    assert said.decode() == f"Stopped: {len(messages)} readings were sent to {topic}.\n"
    assert 0 < len(messages) < 1200


@pytest.mark.usefixtures("services")
def test_a_missing_topic_is_one_clear_sentence(kafka_bootstrap, topic_prefix, tmp_path):
    (tmp_path / "file.csv").write_text("ts,a\n2026-03-01,1\n")
    there, misspelt = f"{topic_prefix}.meters", f"{topic_prefix}.metres"
    create_topic(there, 1, {"bootstrap.servers": kafka_bootstrap})
    arguments = ["produce", str(tmp_path / "file.csv"), "-t", misspelt, "--bootstrap", kafka_bootstrap]
    done = subprocess.run([*TIDECAST, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    said = f"tidecast: There is no topic {misspelt!r} on {kafka_bootstrap}; --create-topic makes it."
    assert done.stderr == f"{said} Did you mean {there}?\n"
