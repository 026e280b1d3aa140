"""Which settings are secret, and texts with the secrets taken out.

Knows names and addresses, not the settings' model: it is used while a configuration is still being checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from stream_app.settings import Settings

REDACTED = "***"
SECRET_CHARS_MIN = 4  # a shorter one would be found in innocent words
_SECRET_NAME = re.compile(
    r"password|secret|token(?!\.endpoint)|jaas|\.pem$|credential|oauthbearer\.config|basic\.auth", re.IGNORECASE
)
# The last @ before a path ends the password: one that was not encoded may hold others.
_IN_ADDRESS = re.compile(r"(?<=://)([^:/@\s]*):(\S*)@")
_IN_QUERY = re.compile(r"(?<=[?&])(\w*password\w*|\w*secret\w*)=([^&\s]*)", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether the value of a key of this name is hidden."""
    return _SECRET_NAME.search(name) is not None


def redact(value: Any, key: str = "") -> Any:
    """The value without passwords: those in addresses, and values whose names say that they are secret."""
    if isinstance(value, Mapping):
        return {name: redact(inner, str(name)) for name, inner in value.items()}
    if is_secret(key) and value not in (None, ""):
        return REDACTED
    if isinstance(value, list | tuple):
        return [redact(inner, key) for inner in value]
    if not isinstance(value, str):
        return value
    return _IN_QUERY.sub(rf"\1={REDACTED}", _IN_ADDRESS.sub(rf"\1:{REDACTED}@", value))


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Every secret value of a configuration, those of the properties file included, in each form that a text may
    quote it in, the longest first."""
    values = settings.model_dump(mode="json")
    kafka = settings.kafka
    found = {*_secrets(values), *_secrets([kafka.properties("consumer"), kafka.properties("producer")])}
    forms = {form for each in found for form in (each, unquote(each), json.dumps(each)[1:-1], repr(each)[1:-1])}
    return tuple(sorted((form for form in forms if len(form) >= SECRET_CHARS_MIN), key=len, reverse=True))


# Of every configuration that this process has read, the longest first: a sentence is written where nobody has the
# settings at hand.
_remembered: list[str] = []


def remember(settings: Settings) -> None:
    """From now on `hidden` knows the secrets of these settings. TidecastError when their properties file is no good."""
    _remembered[:] = sorted({*_remembered, *secrets_of(settings)}, key=len, reverse=True)


def hidden(text: str) -> str:
    """What somebody will read, without the passwords of addresses and without any secret that was remembered."""
    for secret in _remembered:
        if secret in text:
            text = text.replace(secret, REDACTED)
    return str(redact(text))


def _secrets(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _secrets(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner, key)
    elif isinstance(value, str):
        if is_secret(key):
            yield value
        yield from (match[2] for pattern in (_IN_ADDRESS, _IN_QUERY) for match in pattern.finditer(value))
