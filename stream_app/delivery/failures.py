"""What can go wrong on the way out. Each class says what is known afterwards; the publisher decides by the class
alone.
"""

from __future__ import annotations

from confluent_kafka import KafkaError

from stream_app.errors import TidecastError

# No later attempt can succeed: a person has to mend something first.
HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNSUPPORTED_FEATURE,
}
REMEDIES = {
    KafkaError.MSG_SIZE_TOO_LARGE: "raise max.message.bytes of the output topic, or lower horizon or quantile_levels",
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "lower limits.transaction_timeout, or raise transaction.max.timeout.ms",
    KafkaError._UNKNOWN_TOPIC: "create the output topics: tidecast topics create",
}
PERMISSION = "give the worker's user Write on the output topics, Read on its group and Write on its transactional id"


class PublishFailed(TidecastError):
    """Ends the worker: trying again would not help."""


class Aborted(Exception):
    """Nothing of the transaction is visible, and the producer is as good as new: the same outputs may go again."""


class ProducerLost(Exception):
    """The producer is not usable, and nobody knows whether its last transaction counts: a new one must find out."""


def failure_of(error: KafkaError, step: str) -> Exception:
    """The failure that an error of the client in this step stands for."""
    said = f"{step}: {error.str()}"
    if error.code() in HOPELESS:
        remedy = REMEDIES.get(error.code(), PERMISSION)
        return PublishFailed(f"Expected Kafka to take outputs and offsets, found {said}. Remedy: {remedy}.")
    if error.txn_requires_abort():
        return Aborted(said)
    return ProducerLost(said)
