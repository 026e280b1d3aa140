"""Readings that are traced are found again in the logs; the others cost nothing and leave no line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import Producer
from structlog.testing import capture_logs

from stream_app.observability import traces
from stream_app.observability.traces import Traces, trace_id_of
from stream_app.partitions.names import StreamPartition
from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import message, reading
from tests.app.running_worker import START_MS, STEP_MS, World, wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01".encode()
NOT_SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00".encode()


def poll(*headers: Any) -> MessageColumns:
    return MessageColumns.of([message(reading(), offset=offset, headers=each) for offset, each in enumerate(headers)])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (SAMPLED, TRACE),
        (NOT_SAMPLED, None),
        (SAMPLED + b"-more", None),
        (SAMPLED.upper(), None),
        (b"", None),
        (None, None),
    ],
)
def test_only_a_whole_and_sampled_traceparent_counts(value: Any, found: str | None) -> None:
    assert trace_id_of([("other", b"1"), ("traceparent", value)]) == found


def test_the_message_of_a_header_is_found_among_others() -> None:
    found = Traces(10)
    other = [("a", b"x" * 40), ("traceparent", NOT_SAMPLED)]
    messages = poll(None, other, [("b", None), ("traceparent", SAMPLED)], None, [("traceparent", SAMPLED), *other])
    found.see("pumps", messages)
    at = StreamPartition("pumps", 0)
    assert found._found == {at: [(2, TRACE), (4, TRACE)]}
    found.see("pumps", messages[3:])
    assert found._found == {at: [(4, TRACE)]}
    found.see("others", poll(None))
    assert at in found._found
    found.see("pumps", poll(None))
    assert found._found == {}


def test_there_are_so_many_lines_a_second_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(traces.time, "monotonic", lambda: now[0])
    found = Traces(3)
    with capture_logs() as lines:
        for _ in range(10):
            found.dead_letter(StreamPartition("pumps", 0), 1, "malformed", [("traceparent", SAMPLED)])
        now[0] += 1.5
        found.dead_letter(StreamPartition("pumps", 0), 2, "malformed", [("traceparent", SAMPLED)])
    assert [line["offset"] for line in lines] == [1, 1, 1, 2]
    off = Traces(0)
    off.see("pumps", poll([("traceparent", SAMPLED)]))
    with capture_logs() as lines:
        off.dead_letter(StreamPartition("pumps", 0), 1, "malformed", [("traceparent", SAMPLED)])
    assert lines == []
    assert off._found == {}


@pytest.mark.timeout(300)
def test_a_worker_logs_what_became_of_traced_readings(world: World) -> None:
    worker = world.start(world.deployment("a", stream='late = "count"'))
    worker.wait_for("assigned")
    producer = Producer({"bootstrap.servers": world.bootstrap})
    values = [json.dumps({"series_id": "s0", "timestamp": START_MS + at * STEP_MS, "value": 1.0}) for at in (0, 50, 1)]
    for number, value in enumerate([*values, "{"]):
        trace = f"00-{number:032x}-00f067aa0ba902b7-01".encode()
        producer.produce(world.topic, value, "s0", headers=[("traceparent", trace)])
        assert producer.flush(30) == 0
    del producer

    def lines() -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for line in worker.lines():
            if "trace_id" in line:
                assert line["offset"] == int(line["trace_id"], 16)
                found.setdefault(line["event"], set()).add(line["offset"])
        return found

    wait_until(lambda: {"forecast", "late reading", "dead letter"} <= lines().keys(), 40, "lines of each kind")
    assert 0 in lines()["forecast"]
    assert lines()["late reading"] == {2}
    assert lines()["dead letter"] == {3}
    assert worker.stop() == 0
