"""A dead letter as the page shows it: the reason, from its headers, and the beginning of the message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stream_app.dead_letters.record import HEADER
from stream_app.wire.timestamps import rfc3339

SHOWN_CHARACTERS = 500  # of a key, a value and a detail


@dataclass(frozen=True)
class DeadView:
    """Texts are cut to SHOWN_CHARACTERS; bytes that are not UTF-8 are replaced."""

    reason: str
    detail: str
    topic: str
    partition: int | None  # of the input
    offset: int | None
    key: str | None
    value: str | None
    bytes: int  # of the value that was kept
    at: str  # the record's timestamp, RFC 3339


def dead_view(message: Any) -> DeadView:
    """The view of a record in a dead-letter topic. A record that tidecast did not write has the reason `unknown`."""
    told = {name.removeprefix(HEADER): text for name, text in message.headers() or () if name.startswith(HEADER)}
    value = message.value()
    return DeadView(
        reason=_text(told.get("reason")) or "unknown",
        detail=_text(told.get("detail")) or "",
        topic=_text(told.get("topic")) or "",
        partition=_number(told.get("partition")),
        offset=_number(told.get("offset")),
        key=_text(message.key()),
        value=_text(value),
        bytes=len(value or b""),
        at=rfc3339(max(0, message.timestamp()[1])),
    )


def _text(content: bytes | None) -> str | None:
    if content is None:
        return None
    text = content[: 4 * SHOWN_CHARACTERS].decode("utf-8", "replace")
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _number(content: bytes | None) -> int | None:
    text = (content or b"").decode("ascii", "replace")
    return int(text) if text.isdigit() else None
