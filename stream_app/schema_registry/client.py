"""The schema registry's client: schemas by id for reading, ids of our own schemas for writing.

A schema never changes under its id, so it is fetched once and kept. While the registry is away, whoever needs a schema
waits and says why: an outage must not turn messages into dead letters.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from stream_app.errors import TidecastError
from stream_app.settings.secrets import redact
from stream_app.wire.framing import WriterSchema

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    from stream_app.observability.health import Health
    from stream_app.settings import Settings

ASK_AGAIN_S = 1.0
UNKNOWN_S = 10.0  # how long nobody asks again for an id that the registry does not have
NOT_FOUND = 404
Answer = TypeVar("Answer")
log = structlog.get_logger(__name__)


class RegistryAway(TidecastError):
    """The registry does not answer, or refuses us; a sentence for people."""


class Registry:
    """Questions to the registry, each with a deadline."""

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka.schema_registry import SchemaRegistryClient

        schema_registry = settings.schema_registry
        self.url = redact(schema_registry.url or "")  # as it is named in sentences
        properties: dict[str, Any] = {
            "url": schema_registry.url,
            "timeout": settings.limits.registry_timeout / 1000,
            "max.retries": 0,
            **schema_registry.client,
        }
        if schema_registry.user is not None:
            properties["basic.auth.user.info"] = f"{schema_registry.user}:{schema_registry.password or ''}"
        try:
            self._client: SchemaRegistryClient = SchemaRegistryClient(properties)
        except (ValueError, TypeError, OSError) as error:
            raise TidecastError(f"[schema_registry]: {error}.") from None

    def schema(self, schema_id: int) -> WriterSchema | None:
        """The schema of an id; None if there is none. RegistryAway if the registry does not answer."""
        import fastavro

        found = self._ask(lambda: self._client.get_schema(schema_id))
        if found is None:
            return None
        kind = found.schema_type or "AVRO"
        if kind != "AVRO":
            return WriterSchema(kind)
        named: dict[str, Any] = {}
        self._parse_references(found, named)
        try:
            return WriterSchema(kind, fastavro.parse_schema(json.loads(found.schema_str), named_schemas=named))
        except (ValueError, fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
            log.warning("schema cannot be read", schema_id=schema_id, reason=str(error))
            return WriterSchema("AVRO that cannot be read")

    def id_of(self, subject: str, schema: str) -> int | None:
        """The id of our own schema under a subject; None if nobody has registered it."""
        from confluent_kafka.schema_registry import Schema

        found = self._ask(lambda: self._client.lookup_schema(subject, Schema(schema, "AVRO")))
        return None if found is None else found.schema_id

    def register(self, subject: str, schema: str) -> int:
        """Register a schema, by a person's command. TidecastError if the registry refuses it as incompatible."""
        from confluent_kafka.schema_registry import Schema

        found = self._ask(lambda: self._client.register_schema(subject, Schema(schema, "AVRO")))
        if found is None:
            raise TidecastError(f"The registry at {self.url} does not take schemas there (404); is the address right?")
        return found

    def check(self, subject: str) -> None:
        """Raise RegistryAway if the registry does not answer. Whether the subject exists does not matter."""
        self._ask(lambda: self._client.get_latest_version(subject))

    def _parse_references(self, found: Any, named: dict[str, Any]) -> None:
        import fastavro

        for each in found.references or ():
            other = self._ask(lambda each=each: self._client.get_version(each.subject, each.version))  # type: ignore[misc]
            if other is not None:
                self._parse_references(other.schema, named)
                fastavro.parse_schema(json.loads(other.schema.schema_str), named_schemas=named)

    def _ask(self, question: Callable[[], Answer]) -> Answer | None:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return question()
        except SchemaRegistryError as error:
            if error.http_status_code == NOT_FOUND:
                return None
            if error.http_status_code in (409, 422):
                raise TidecastError(f"The registry at {self.url} refused a schema: {error.error_message}.") from None
            reason = f"{error.http_status_code} {error.error_message}"
        except Exception as error:  # noqa: BLE001 - its HTTP client has a tree of exceptions that we do not want to know
            reason = f"{type(error).__name__}: {error}"
        raise RegistryAway(
            f"Expected the schema registry at {self.url} (schema_registry.url) to answer, found {reason}. Is it "
            "running, is the address right, do user, password and TLS fit it?"
        )


class RegistrySchemas:
    """Schemas by id, as many as `limits.schemas_max` in memory. Used by one thread; `stop` by any."""

    def __init__(self, settings: Settings, health: Health | None) -> None:
        """`health`: of a worker, which waits for a registry that is away. None: a command, which reports it at once."""
        self._registry = Registry(settings)
        self._schemas_max = settings.limits.schemas_max
        self._health = health
        self._known: OrderedDict[int, tuple[WriterSchema | None, float]] = OrderedDict()  # id → (schema, asked at)
        self._stopping = threading.Event()

    def get(self, schema_id: int) -> WriterSchema | None:
        """None: the registry has none of this id. Waits for a registry that is away; RegistryAway when told to stop."""
        known = self._known.get(schema_id)
        if known is not None and (known[0] is not None or time.monotonic() < known[1] + UNKNOWN_S):
            self._known.move_to_end(schema_id)
            return known[0]
        schema = self._fetch(schema_id)
        self._known[schema_id] = schema, time.monotonic()
        while len(self._known) > self._schemas_max:
            self._known.popitem(last=False)
        return schema

    def stop(self) -> None:
        """Do not wait for the registry any more."""
        self._stopping.set()

    def _fetch(self, schema_id: int) -> WriterSchema | None:
        said: str | None = None
        while True:
            try:
                schema = self._registry.schema(schema_id)
            except RegistryAway as away:
                if self._health is None or self._stopping.is_set():
                    raise
                if str(away) != said:
                    said = str(away)
                    log.warning("waiting for a schema", schema_id=schema_id, reason=said)
                    self._health.registry_away(said)
                self._stopping.wait(ASK_AGAIN_S)
            else:
                if said is not None and self._health is not None:
                    log.info("the schema registry answers again")
                    self._health.registry_there()
                return schema


def schemas_of(settings: Settings, health: Health | None = None) -> RegistrySchemas | None:
    """The schemas of the configured registry; None if none is configured."""
    return None if settings.schema_registry.url is None else RegistrySchemas(settings, health)
