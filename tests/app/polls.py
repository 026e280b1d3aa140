"""Polls for tests: real confluent_kafka messages, made by hand."""

import json
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Message

from model_core.spec import StreamSpec

NOW_MS = 1_772_359_200_000  # 2026-03-01T10:00:00Z
CREATE_TIME, LOG_APPEND_TIME = 1, 2


def spec(**changes: Any) -> StreamSpec:
    return StreamSpec.model_validate({"topic": "pumps", "freq": "10min"} | changes)


def message(
    value: Any,
    *,
    key: bytes | None = b"pump-7",
    partition: int = 0,
    offset: int = 0,
    time_ms: int = NOW_MS,
    time_type: int = CREATE_TIME,
    headers: Sequence[tuple[str, bytes]] | None = None,
) -> Message:
    """`value`: bytes and None as they are, anything else as JSON."""
    data = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    return Message(
        topic="pumps",
        partition=partition,
        offset=offset,
        key=key,
        value=data,
        timestamp=(time_type, time_ms),
        headers=list(headers) if headers else None,
    )


def poll(values: Sequence[Any], *, keys: Sequence[bytes | None] | None = None, partitions: int = 1) -> list[Message]:
    """Message i has offset i, in partition i mod `partitions`."""
    named = keys or [b"pump-7"] * len(values)
    return [
        message(value, key=key, partition=offset % partitions, offset=offset)
        for offset, (value, key) in enumerate(zip(values, named, strict=True))
    ]


def reading(series_id: str = "pump-7.temp", value: Any = 21.5, timestamp: Any = NOW_MS, **more: Any) -> dict[str, Any]:
    return {"series_id": series_id, "timestamp": timestamp, "value": value} | more
