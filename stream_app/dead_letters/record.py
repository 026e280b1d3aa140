"""Input that could not be used: the record that keeps it, and when a partition has too much of it.

A dead letter is the message as it was (key, value, timestamp, headers) with `tidecast.error.*` headers that say why.
"""

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np

from model_core.arrays import BoolArray
from model_core.spec import StreamSpec
from stream_app.delivery.outbox import Addressed
from stream_app.wire.decoded import DeadLetter, Headers

HEADER = "tidecast.error."
DETAIL_CHARACTERS_MAX = 1000
KEPT_BYTES = 65_536  # of a value, a key or headers above dead_letter_bytes_max


def encode_dead_letter(spec: StreamSpec, stream: str, letter: DeadLetter) -> Addressed:
    """The record for the stream's dead-letter topic. Headers of an earlier failure are replaced.

    It is larger than the message by what is added, and the broker's bound is the same for both: what is so large that
    this could matter is cut, or the worker would stop at each attempt to write it.
    """
    key, value = letter.key, letter.value
    added: dict[str, str] = {
        "reason": letter.reason,
        "detail": letter.detail[:DETAIL_CHARACTERS_MAX],
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
    }
    if letter.readings:
        added["readings"] = json.dumps(letter.readings, ensure_ascii=False)
    if value is not None and len(value) > spec.dead_letter_bytes_max:
        added["sha256"] = hashlib.sha256(value).hexdigest()
        value = value[: min(KEPT_BYTES, spec.dead_letter_bytes_max)]
    if key is not None and len(key) > spec.dead_letter_bytes_max:
        added["key_sha256"] = hashlib.sha256(key).hexdigest()
        key = key[: min(KEPT_BYTES, spec.dead_letter_bytes_max)]
    own: Headers = [(name, text) for name, text in letter.headers if not name.startswith(HEADER)]
    headers = _first_that_fit(own, spec.dead_letter_bytes_max)
    if len(headers) < len(own):
        added["headers_left_out"] = str(len(own) - len(headers))
    # A name smuggled in with half a surrogate pair must not keep its own dead letter from being written.
    headers += [(HEADER + name, text.encode("utf-8", "replace")) for name, text in added.items()]
    topic = spec.outputs.topic("dead_letters", stream)
    return Addressed(topic, key, value, headers=headers, timestamp_ms=max(0, letter.timestamp_ms))


def _first_that_fit(headers: Headers, bytes_max: int) -> Headers:
    sizes = np.cumsum([len(name.encode("utf-8", "replace")) + len(text or b"") for name, text in headers])
    return headers[: int(np.searchsorted(sizes, bytes_max, side="right"))]


@dataclass(frozen=True)
class MalformedShare:
    """The last `window` messages of one partition, and whether more than `limit` of them were malformed.

    A value: `after` returns the next one. Once exceeded it stays so, however the messages were cut; it is not part of
    the state, so counting begins anew with each assignment.
    """

    limit: float  # share of the window
    window: int  # messages
    recent: bytes = b""  # one byte a message, 1 where malformed, oldest first
    exceeded: bool = False

    @classmethod
    def of(cls, spec: StreamSpec) -> "MalformedShare":
        return cls(limit=spec.dead_letter_limit, window=spec.dead_letter_window)

    def after(self, malformed: BoolArray) -> "MalformedShare":
        """After these messages in log order: bool [n], whether each was malformed (DecodedPoll.malformed)."""
        if not malformed.any() and b"\1" not in self.recent:
            seen = min(len(self.recent) + len(malformed), self.window)
            return self if seen == len(self.recent) else replace(self, recent=bytes(seen))
        flags = np.concatenate([np.frombuffer(self.recent, np.uint8), malformed.astype(np.uint8)])
        exceeded = self.exceeded
        if not exceeded and malformed.any():
            # sums of the window that ends at each of the new messages
            sums = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
            ends = np.arange(len(self.recent) + 1, len(flags) + 1)
            counts = sums[ends] - sums[np.maximum(ends - self.window, 0)]
            exceeded = bool((counts > self.limit * self.window).any())
        return replace(self, recent=flags[-self.window :].tobytes(), exceeded=exceeded)

    def sentence(self, partition: str, topic: str) -> str:
        """Why the partition is held, for /readyz and the log. `topic`: of the dead letters."""
        return (
            f"{partition} is held: more than {self.limit:.0%} of its last {self.window} messages could not be used. "
            f"They are kept in {topic}, with the reason of each in its headers. Mend the producer, then `tidecast "
            "dead-letters accept`, or the stream's format and fields, then restart the worker: it reads on after them "
            "and counts anew. Nothing is lost."
        )
