"""What a series id may be, wherever it comes from: text of 1 to 1024 UTF-8 bytes without control characters."""

import re
from collections.abc import Callable
from functools import lru_cache

from model_core.spec import StreamSpec

SERIES_ID_BYTES_MAX = 1024
# Verdicts remembered for each stream, so that a series is matched against patterns once, not at each reading.
REMEMBERED_MAX = 1 << 17
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def fault_of(series_id: str) -> str | None:
    """Why this cannot be a series id; None when it can."""
    if not series_id:
        return "the series id is empty"
    try:
        length = len(series_id.encode())
    except UnicodeEncodeError:
        return "the series id has half a surrogate pair, which UTF-8 cannot say"
    if length > SERIES_ID_BYTES_MAX:
        return f"the series id has {length} bytes, at most {SERIES_ID_BYTES_MAX} are allowed"
    if _CONTROL.search(series_id):
        return f"the series id {series_id[:80]!r} has control characters"
    return None


def from_key(key: bytes | None) -> str | None:
    """A message key as a series id; None if it cannot be one."""
    if key is None:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=64)
def _matcher(include: tuple[str, ...]) -> Callable[[str], bool]:
    spec = StreamSpec(topic="-", freq=1000, include=include)
    return lru_cache(maxsize=REMEMBERED_MAX)(spec.includes)


def includes(spec: StreamSpec) -> Callable[[str], bool] | None:
    """The stream's filter of series ids, which remembers its answers; None if it takes all."""
    return None if "*" in spec.include else _matcher(spec.include)
