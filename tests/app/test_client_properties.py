"""What the worker makes of the properties that it is given for its consumer."""

import pytest

from stream_app.kafka.clients import consumer_properties
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
