"""What the worker makes of the properties that it is given for its clients."""

import pytest
from confluent_kafka import Producer

from stream_app.kafka.clients import consumer_properties, output_properties
from stream_app.settings import Settings


@pytest.mark.parametrize(
    ("given", "interval_ms"),
    [
        ({}, 120_000),
        ({"session.timeout.ms": 300_000}, 300_000),  # the client refuses a session that is longer
        ({"max.poll.interval.ms": 600_000}, 600_000),
        ({"max.poll.interval.ms": 6_000, "session.timeout.ms": 6_000}, 6_000),
    ],
)
def test_a_lost_question_for_partitions_is_asked_again_after_two_minutes(
    given: dict[str, int], interval_ms: int
) -> None:
    settings = Settings.model_validate(
        {"application_id": "a", "kafka": {"consumer": given}, "streams": {"s": {"topic": "t", "freq": "1h"}}}
    )
    assert consumer_properties(settings)["max.poll.interval.ms"] == interval_ms


@pytest.mark.parametrize("given", [{}, {"socket.timeout.ms": 500}, {"socket.timeout.ms": "30000"}])
def test_the_client_takes_transactions_that_are_shorter_than_the_socket_timeout_it_was_given(
    given: dict[str, int | str],
) -> None:
    settings = Settings.model_validate(
        {"application_id": "a", "kafka": {"client": given}, "limits": {"transaction_timeout": "2s"}}
    )
    properties = output_properties(settings)
    Producer(properties)  # it refuses what does not fit together
    assert int(properties.get("socket.timeout.ms", 2000)) == min(2000, int(given.get("socket.timeout.ms", 2000)))
