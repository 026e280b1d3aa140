"""What the consumer reports between messages: which errors end the worker, and in which words."""

from __future__ import annotations

from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException

from stream_app.errors import TidecastError

# librdkafka tells the application of any fatal error by _FATAL; what it was stands in the text alone.
ENDING = (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID)
FORBIDDEN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "Read on its input topics",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "Read on the consumer group, which is its application_id",
}
FENCED = "fenced by other consumer with same group.instance.id"


def is_forbidden(client: Consumer, topic: str, timeout_s: float) -> bool:
    """Of a topic that the list of all topics lacks: it leaves out silently what a user may not describe, and who asks
    by name is told. KafkaException when nobody answers."""
    error = client.list_topics(topic, timeout=timeout_s).topics[topic].error
    return error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


class ClientMessage(Protocol):
    """What the client says between messages, in place of one."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def error(self) -> KafkaError: ...


def raise_if_ending(message: ClientMessage) -> None:
    """Raise for a message with an error that ends the worker; the client recovers from others by itself."""
    error = message.error()
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise TidecastError(
            f"Expected {message.topic()}[{message.partition()}] to have the next reading, found: {error.str()}. "
            "It was deleted before it was read; `tidecast reset --to earliest` goes on with what is left."
        )
    if error.code() == KafkaError.FENCED_INSTANCE_ID or FENCED in error.str():
        raise TidecastError(
            "Expected to be the only worker of its instance_id in this deployment, found that another one has joined "
            "with the same and taken over. This worker ends, nothing is lost; give each worker an instance_id of its "
            "own, or none."
        )
    if error.code() in FORBIDDEN:
        raise TidecastError(
            f"Expected Kafka to let the worker read, found: {error.str()}. Give its user {FORBIDDEN[error.code()]}."
        )
    if error.fatal() or error.code() in ENDING:
        raise KafkaException(error)
