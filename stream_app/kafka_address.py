"""Which broker a command for people talks to, and how: librdkafka properties from an option or a configuration file."""

from pathlib import Path
from typing import Any

LOCAL = "127.0.0.1:9092"  # where `tidecast services up` starts its broker


def client_properties(bootstrap: str | None, config: Path | None) -> dict[str, Any]:
    """Properties that producers, consumers and admin clients share. `bootstrap` wins over the file."""
    properties: dict[str, Any] = {"bootstrap.servers": LOCAL}
    if bootstrap is not None:
        properties["bootstrap.servers"] = bootstrap
    return properties
