"""Which broker a command talks to, and how: from an option, a configuration file or the environment."""

from pathlib import Path
from typing import Any

from stream_app.errors import TidecastError
from stream_app.settings import Settings
from stream_app.settings.addresses import brokers

QUIET = {"log_level": 0, "error_cb": lambda error: None}  # librdkafka would write over what we show


def client_properties(bootstrap: str | None, config: Path | None) -> dict[str, Any]:
    """Properties that producers, consumers and admin clients share. `bootstrap` wins over file and environment."""
    properties = dict(Settings.load(config).kafka.properties("admin"))
    if bootstrap is not None:
        try:
            properties["bootstrap.servers"] = brokers(bootstrap)
        except ValueError as error:
            raise TidecastError(f"--bootstrap: {error}.") from None
    return properties | QUIET
