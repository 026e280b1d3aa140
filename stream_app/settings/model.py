"""Settings: everything a person can configure, in one table; the only reader of the environment.

One TOML file, then environment variables over it: TIDECAST__KAFKA__BOOTSTRAP_SERVERS=… sets kafka.bootstrap_servers,
and a name that ends in _FILE names a file that holds the value (for secrets). An unknown key is an error that names the
nearest valid one. Each field carries its explanation and what changing it means (model_core/setting.py);
`tidecast config show` and docs/CONFIGURATION.md are made from them.
"""

import os
import re
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from model_core.durations import DurationMs
from model_core.setting import Strict, setting
from model_core.spec import OUTPUT_KINDS, StreamSpec
from stream_app.errors import TidecastError
from stream_app.settings.addresses import brokers, redis_address, registries
from stream_app.settings.kafka_properties import Properties, read_properties_file, refused
from stream_app.settings.problems import configuration_error, unknown_stream
from stream_app.settings.secrets import remember
from stream_app.settings.sources import overlay_environment, read_toml

MIB = 1_048_576


def _none_owned(properties: Properties) -> Properties:
    for name, reason in refused(properties):
        raise ValueError(f"{name} cannot be set here: {reason}")
    return properties


Verbatim = Annotated[Properties, AfterValidator(_none_owned)]
_VERBATIM = "librdkafka properties, verbatim, quoted dotted keys, for "


class Http(Strict):
    """Where /livez, /readyz and /metrics are served."""

    host: str = setting("127.0.0.1", "restart", "Address to listen on; 0.0.0.0 for all, as in a container.")
    port: int = setting(9464, "restart", "Port of /livez, /readyz and /metrics; 0 takes a free one.", ge=0, le=65535)


class Kafka(Strict):
    """The broker."""

    bootstrap_servers: Annotated[str, AfterValidator(brokers)] = setting(
        "127.0.0.1:9092", "restart", "HOST:PORT of brokers, separated by commas."
    )
    auto_offset_reset: Literal["earliest", "latest"] = setting(
        "earliest", "restart", "Where a new application_id begins to read its input."
    )
    client: Verbatim = setting({}, "restart", _VERBATIM + "all clients (TLS, SASL).")
    consumer: Verbatim = setting({}, "restart", _VERBATIM + "the consumer.")
    producer: Verbatim = setting({}, "restart", _VERBATIM + "the producer.")
    properties_file: Path | None = setting(
        None, "restart", "A file of key=value properties, as hosted services hand out; the keys above override it."
    )

    @cached_property
    def _from_file(self) -> Properties:
        return read_properties_file(self.properties_file) if self.properties_file else {}

    def properties(self, role: Literal["consumer", "producer", "admin"]) -> Properties:
        """What a client of this role starts from; the worker adds the properties it owns."""
        servers = self.bootstrap_servers
        if "bootstrap_servers" not in self.model_fields_set:
            servers = str(self._from_file.get("bootstrap.servers", servers))
        own = {"consumer": self.consumer, "producer": self.producer, "admin": {}}[role]
        return self._from_file | self.client | own | {"bootstrap.servers": servers}


class Redis(Strict):
    """The store of checkpoints: Redis 7 or newer, or Valkey."""

    url: Annotated[str, AfterValidator(redis_address)] = setting(
        "redis://127.0.0.1:6379/0", "restart", "redis://, rediss:// (TLS) or unix:// address, user and password inside."
    )
    cluster: bool = setting(False, "restart", "The address is that of a node of a Redis Cluster.")


class SchemaRegistry(Strict):
    """Where schemas of Avro and JSON Schema are: a registry with Confluent's API."""

    url: Annotated[str | None, AfterValidator(registries)] = setting(
        None, "restart", "http:// or https:// address, several separated by commas."
    )
    user: str | None = setting(None, "restart", "User name, or the key of an API key.")
    password: str | None = setting(None, "restart", "Its password; better SCHEMA_REGISTRY__PASSWORD_FILE.")
    client: Properties = setting(
        {},
        "restart",
        "Properties of confluent-kafka's registry client, verbatim, quoted dotted keys (TLS).",
    )


class Models(Strict):
    """Where trained models come from."""

    registry: str = setting(
        ".tidecast/models", "restart", "Folder or object store of trained models, any fsspec address."
    )
    poll_interval: DurationMs = setting(5_000, "restart", "How often a worker looks for a new champion.", ge=100)
    shadow_series_max: int = setting(
        0, "restart", "How many series of a partition a candidate forecasts in the shadow; 0: none.", ge=0, le=10_000
    )
    promotion: Literal["gate", "shadow"] = setting(
        "gate",
        "restart",
        "What lets a candidate take charge: the gate on history, or beyond that its scores in the shadow.",
    )
    retrain_interval: DurationMs = setting(
        3_600_000, "restart", "After an attempt to train, requests for another wait until this has passed.", ge=1_000
    )

    @model_validator(mode="after")
    def _has_a_shadow(self) -> "Models":
        if self.promotion == "shadow" and not self.shadow_series_max:
            raise ValueError(
                'promotion = "shadow": expected shadow_series_max above 0, found 0: no candidate would ever be scored'
            )
        return self


class Api(Strict):
    """`tidecast api`: the live page, and what programs ask over HTTP. docs/API.md"""

    host: str = setting("127.0.0.1", "restart", "Address to listen on; any beyond this machine needs a token.")
    port: int = setting(9480, "restart", "Port of the page and the API; 0 takes a free one.", ge=0, le=65535)
    token: str | None = setting(
        None,
        "restart",
        "What a client has to show (Authorization: Bearer …), 16 characters or more; unset: nothing.",
        min_length=16,
    )
    series_max: int = setting(20_000, "restart", "Series shown of a stream; more are counted only.", ge=1, le=1_000_000)
    history: DurationMs = setting(
        86_400_000, "restart", "How far back values, accuracy and earlier forecasts can be asked for.", ge=1000
    )
    points_max: int = setting(
        1_000, "restart", "Steps, and forecasts, that are kept of a series at most, however long `history` is.", ge=16
    )
    scores_max: int = setting(96, "restart", "Points of accuracy over time that are kept of a series.", ge=2, le=10_000)
    events_max: int = setting(500, "restart", "Drift records and dead letters that are kept of a stream.", ge=1)
    backlog_max: int = setting(
        200_000,
        "restart",
        "Messages of a partition that are read at the start, or caught up with; older ones are passed over.",
        ge=1_000,
    )
    catching_up_share: float = setting(
        0.01,
        "restart",
        "Share of a core that reading the topics takes while workers catch up with a backlog, about; 1: as it needs.",
        gt=0,
        le=1,
    )
    requests_max: int = setting(
        50, "restart", "Requests a second that a client may make; ten times as many at once.", ge=1
    )
    listeners_max: int = setting(50, "restart", "Pages kept up to date at once.", ge=1)
    body_bytes_max: int = setting(4_096, "restart", "Bytes of a request's body; nothing here takes one.", ge=0)
    nice: int = setting(10, "restart", "How much the process gives way to others on its machine (nice).", ge=0, le=19)


class Limits(Strict):
    """The bound of every queue, batch, wait and retry."""

    poll_batch_max: int = setting(20_000, "restart", "Messages taken from Kafka at once.", ge=1, le=1_000_000)
    poll_bytes_max: int = setting(2 * MIB, "restart", "Bytes of messages taken from Kafka at once, about.", ge=1024)
    poll_wait: DurationMs = setting(
        10,
        "restart",
        "How long a turn of the poll thread waits for a first message, or for the pipeline.",
        ge=1,
        le=1_000,
    )
    poll_queue_max: int = setting(4, "restart", "Poll batches waiting to be processed.", ge=1)
    pause_after: DurationMs = setting(
        1_000, "restart", "How long to wait for a full queue before partitions are paused.", ge=0
    )
    forecast_batch_max: int = setting(4_096, "restart", "Windows forecast at once.", ge=1)
    transaction_interval: DurationMs = setting(
        100, "restart", "About how long outputs and offsets wait until they are committed.", ge=1
    )
    transaction_records_max: int = setting(100_000, "restart", "Outputs after which they are committed at once.", ge=1)
    outbox_bytes_max: int = setting(64 * MIB, "restart", "Bytes of outputs handed to the publisher at once.", ge=MIB)
    publish_queue_max: int = setting(2, "restart", "Cuts waiting for the publisher.", ge=1)
    publish_deadline: DurationMs = setting(30_000, "restart", "How long a cut may take to be acknowledged.", ge=1_000)
    commit_deadline: DurationMs = setting(30_000, "restart", "How long a commit of offsets may take.", ge=100)
    checkpoint_interval: DurationMs = setting(1_000, "restart", "How often the state goes to Redis.", ge=10)
    checkpoint_queue_max: int = setting(4, "restart", "Committed cuts whose states wait for Redis.", ge=1)
    checkpoint_copies_bytes_max: int = setting(
        64 * MIB,
        "restart",
        "Bytes of states that are copied for a checkpoint and not in Redis yet; one partition's at least.",
        ge=MIB,
    )
    checkpoint_chunk_bytes_max: int = setting(4 * MIB, "restart", "Bytes sent to Redis in one piece.", ge=65_536)
    transaction_timeout: DurationMs = setting(
        10_000, "restart", "After this the brokers abort a transaction whose worker is gone.", ge=1_000, le=900_000
    )
    recovery_deadline: DurationMs = setting(
        600_000,
        "restart",
        "How long Kafka may be away before a worker that cannot publish ends. Under at_least_once it waits on.",
        ge=1_000,
    )
    backlog_readings_max: int = setting(
        2_000_000, "restart", "Readings processed beyond the last checkpoint before the worker waits for Redis.", ge=1
    )
    redis_timeout: DurationMs = setting(5_000, "restart", "How long one Redis command may take.", ge=10)
    trace_lines_max: int = setting(
        10, "restart", "Log lines a second about readings whose traceparent header says that they are sampled.", ge=0
    )
    schemas_max: int = setting(1_000, "restart", "Schemas of the registry that are kept in memory.", ge=1)
    registry_timeout: DurationMs = setting(5_000, "restart", "How long a question to the registry may take.", ge=100)
    kafka_timeout: DurationMs = setting(10_000, "restart", "How long one question to the brokers may take.", ge=100)
    revocation_deadline: DurationMs = setting(
        20_000, "restart", "How long a revocation may take, at most a fifth of max.poll.interval.ms.", ge=100
    )
    start_deadline: DurationMs = setting(
        300_000, "restart", "How long a worker waits for Kafka, its topics and Redis before it ends.", ge=100
    )
    shutdown_deadline: DurationMs = setting(30_000, "restart", "How long a worker may take to stop.", ge=1_000)
    liveness_deadline: DurationMs = setting(
        30_000, "restart", "/livez fails when the loop stood still this long.", ge=1_000
    )
    model_attempts_max: int = setting(3, "restart", "Attempts to load a model before the one in charge stays.", ge=1)


def _require_topic_name(key: str, topic: str) -> None:
    """Kafka takes no other names, and says so only when the topic is made."""
    if re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic) is None or topic in (".", ".."):
        raise ValueError(
            f"{key}: expected the name of a topic (letters, digits, '.', '_' and '-', at most 249), found {topic!r}"
            + ("" if key.endswith(".topic") else ". Outputs are named after the stream unless `prefix` is set")
        )


class Settings(BaseSettings):
    """The whole configuration. `Settings.load(path)` reads it; every error says what was expected, found and where."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, ignored_types=(cached_property,))

    application_id: str = setting(
        "tidecast",
        "new stream",
        "Identity of this deployment: consumer group, prefix of client and transactional ids and of Redis keys.",
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$",
    )
    instance_id: str | None = setting(
        None,
        "restart",
        "Name of this worker, unique in the deployment, stable over a restart; else host name, process, random part.",
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$",
    )
    delivery: Literal["exactly_once", "at_least_once"] = setting(
        "exactly_once",
        "restart",
        "exactly_once: outputs and offsets in one transaction, read with isolation.level = read_committed. "
        "at_least_once: outputs are readable sooner, a crash may publish some twice.",
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "restart", "Where models are computed.")
    strict: bool = setting(
        False,
        "restart",
        "On a GPU: a forecast has the same bytes whatever else is in its batch, which costs speed; exactly_once "
        "implies it. On the CPU it is always so.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "restart", "Lowest level that is logged.")
    log_format: Literal["json", "text"] = setting("json", "restart", "Form of a log line.")
    http: Http = setting(Http(), "restart", "Health and metrics.")
    kafka: Kafka = setting(Kafka(), "restart", "The broker.")
    redis: Redis = setting(Redis(), "restart", "The store of checkpoints.")
    schema_registry: SchemaRegistry = setting(SchemaRegistry(), "restart", "Where schemas are.")
    models: Models = setting(Models(), "restart", "Where trained models come from.")
    api: Api = setting(Api(), "restart", "The live page and the HTTP API.")
    limits: Limits = setting(Limits(), "restart", "The bound of every queue, batch, wait and retry.")
    streams: dict[str, StreamSpec] = Field(
        default_factory=dict,
        description="The configured streams by name.",
        json_schema_extra={"change": "new stream"},
    )

    @model_validator(mode="after")
    def _topics_apart(self) -> "Settings":
        """An output that is somebody's input, or two outputs in one topic, would feed the worker its own words."""
        taken: dict[str, str] = {spec.topic: f"the input of {name}" for name, spec in self.streams.items()}
        for name, spec in self.streams.items():
            _require_topic_name(f"streams.{name}.topic", spec.topic)
            for kind in OUTPUT_KINDS:
                topic, mine = spec.outputs.topic(kind, name), f"{kind} of {name}"
                _require_topic_name(f"streams.{name}.outputs", topic)
                if topic in taken:
                    raise ValueError(
                        f"streams.{name}.outputs: expected a topic of its own for {mine}, found {topic!r}, "
                        f"which is {taken[topic]}. Set another prefix or name"
                    )
                taken[topic] = mine
        return self

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` merges file and environment itself, so that an unknown variable is an error as an unknown key is;
        # pydantic-settings would pass over it.
        return (init_settings,)

    @classmethod
    def load(cls, path: Path | str | None, environ: Mapping[str, str] = os.environ) -> "Settings":
        """The file (None: defaults alone) with the environment over it. TidecastError has a sentence per problem."""
        where = str(path) if path is not None else "the environment"
        values = read_toml(Path(path)) if path is not None else {}
        variables = overlay_environment(values, environ, cls)
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise configuration_error(cls, error, where, variables) from None
        with suppress(TidecastError):  # a properties file that is no good; whoever needs it says so
            settings.require_properties()
        return settings

    def require_properties(self) -> None:
        """TidecastError when the properties file is no good: who runs on asks at once, before waiting for anybody."""
        remember(self)

    @property
    def is_strict(self) -> bool:
        """Replays must give the same bytes where outputs are promised once."""
        return self.strict or self.delivery == "exactly_once"

    @cached_property
    def instance_name(self) -> str:
        """The instance_id. When none is set, host name and process id, and a part that is drawn: two containers on the
        network of one host are the same process of it, and a producer of the same name fences the other for ever."""
        return self.instance_id or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

    def stream(self, name: str | None = None) -> tuple[str, StreamSpec]:
        """The stream of that name, or the only one."""
        if name is None and len(self.streams) == 1:
            return next(iter(self.streams.items()))
        if name is None or name not in self.streams:
            raise unknown_stream(name, list(self.streams))
        return name, self.streams[name]
