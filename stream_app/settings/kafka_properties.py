"""librdkafka properties that are passed on verbatim, and those that the worker owns and refuses, with the reason.

Hosted Kafka services hand out a properties file; it is read here, in their `key=value` form.
"""

from pathlib import Path

from stream_app.errors import TidecastError

# Properties that exactly-once processing, the group or the naming of a deployment depends on → why, and what to set.
OWNED = {
    "bootstrap.servers": "set kafka.bootstrap_servers",
    "metadata.broker.list": "set kafka.bootstrap_servers",
    "client.id": "it is derived from application_id and instance_id",
    "group.id": "it is the application_id",
    "group.instance.id": "it is the instance_id",
    "group.protocol": "cooperative rebalancing needs the classic protocol",
    "partition.assignment.strategy": "it is cooperative-sticky: partitions that stay are not interrupted",
    "auto.offset.reset": "set kafka.auto_offset_reset",
    "enable.auto.commit": "offsets are committed only after the outputs they belong to",
    "enable.auto.offset.store": "offsets are committed only after the outputs they belong to",
    "enable.partition.eof": "replay needs it to know where a partition ends",
    "isolation.level": "it is read_committed: aborted readings must never reach the state",
    "enable.idempotence": "it is on: a retry must not write twice",
    "acks": "it is all: an acknowledged forecast must survive a broker",
    "transactional.id": "it is application_id and instance_id, stable over a restart",
    "transaction.timeout.ms": "set limits.transaction_timeout",
    "partitioner": "it is murmur2_random, as Java has it, so that consumers can join by key",
}
_FOREIGN = {
    "sasl.jaas.config": "only Java clients read it: set sasl.username and sasl.password",
    "key.serializer": "only Java clients read it: leave it out",
    "value.serializer": "only Java clients read it: leave it out",
    "key.deserializer": "only Java clients read it: leave it out",
    "value.deserializer": "only Java clients read it: leave it out",
}
# Lines of a provider's file that are not for the Kafka client; they are passed over.
_OTHER_CLIENTS = ("schema.registry.", "basic.auth.", "client.dns.lookup")

Properties = dict[str, str | int | float | bool]


def refused(properties: Properties) -> list[tuple[str, str]]:
    """(name, reason) of each property that may not be set."""
    reasons = OWNED | _FOREIGN
    return [(name, reasons[name]) for name in properties if name in reasons]


def read_properties_file(path: Path) -> Properties:
    """`key=value` lines; `#` and `!` begin comments. `bootstrap.servers` is kept: the file may name the brokers."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TidecastError(
            f"kafka.properties_file: expected a readable text file, found {path} ({error}). Check the path."
        ) from error
    properties: Properties = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text[0] in "#!":
            continue
        name, equals, value = text.partition("=")
        if not equals:
            raise TidecastError(f"{path}, line {number}: expected key=value, found a line without `=`.")
        if not name.strip().startswith(_OTHER_CLIENTS):
            properties[name.strip()] = value.strip()
    bad = refused({name: value for name, value in properties.items() if name != "bootstrap.servers"})
    # group.id, client.id and acks stand in many providers' files as an example, so the text says to delete the line.
    for name, reason in bad:
        raise TidecastError(f"{path}: {name} cannot be set here: {reason}. Delete the line.")
    return properties
