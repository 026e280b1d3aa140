"""Which broker a command talks to, and how: from an option, a configuration file or the environment."""

from pathlib import Path
from typing import Any

from stream_app.errors import TidecastError
from stream_app.settings import Settings
from stream_app.settings.addresses import brokers

QUIET = {"log_level": 0, "error_cb": lambda error: None}  # librdkafka would write over what we show


def settings_at(bootstrap: str | None, config: Path | None) -> Settings:
    """The settings of a file, or those without any. `bootstrap` wins over file and environment."""
    settings = Settings.load(config)
    if bootstrap is None:
        return settings
    try:
        servers = brokers(bootstrap)
    except ValueError as error:
        raise TidecastError(f"--bootstrap: {error}.") from None
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap_servers": servers})})


def client_properties(settings: Settings) -> dict[str, Any]:
    """Properties that producers and consumers of a command share."""
    return settings.kafka.properties("admin") | QUIET
