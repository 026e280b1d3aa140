"""What the consumer reports between messages: a person reads a sentence with the remedy, or the client goes on."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from stream_app.errors import TidecastError
from stream_app.kafka.consumer_errors import raise_if_ending


class Reported:
    """A message that carries an error; the client's own class cannot be made by hand in all its versions."""

    def __init__(self, code: int) -> None:
        self._error = KafkaError(code)

    def error(self) -> KafkaError:
        return self._error

    def topic(self) -> str:
        return "meters"

    def partition(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "Read on the consumer group"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Read on its input topics"),
    ],
)
def test_a_missing_permission_ends_the_worker_with_the_right_to_give(code, remedy):
    with pytest.raises(TidecastError, match=remedy):
        raise_if_ending(Reported(code))


def test_readings_that_are_gone_end_the_worker_with_the_command_that_mends_it():
    with pytest.raises(TidecastError, match=r"deleted before it was read.*tidecast reset"):
        raise_if_ending(Reported(KafkaError._AUTO_OFFSET_RESET))


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._MAX_POLL_EXCEEDED])
def test_what_the_client_recovers_from_ends_nothing(code):
    raise_if_ending(Reported(code))
