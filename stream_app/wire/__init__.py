"""The wire: bytes of the input topics → columns, columns → bytes of the published messages.

`decoder(format)` is the one place that knows which formats exist.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from model_core.spec import StreamSpec
from stream_app.errors import TidecastError
from stream_app.wire.decoded import DeadLetter, DecodedPoll, Message, ReplayVerdicts
from stream_app.wire.json import decode as decode_json
from stream_app.wire.senml import decode as decode_senml


class Decode(Protocol):
    """A format's decoder: a pure function of messages, the worker's clock and what the journal remembers of it."""

    def __call__(
        self,
        spec: StreamSpec,
        messages: Sequence[Message],
        *,
        now_ms: int,
        partition_count: int,
        replay: Mapping[int, ReplayVerdicts] | None = None,
    ) -> DecodedPoll: ...


def _not_yet(name: str, remedy: str) -> Callable[[], Decode]:
    def refuse() -> Decode:
        raise TidecastError(f'format = "{name}" is not available in this version. {remedy}')

    return refuse


# To add a format: its module beside json.py, and its line here.
FORMATS: dict[str, Callable[[], Decode]] = {
    "json": lambda: decode_json,
    "senml": lambda: decode_senml,
    "avro": _not_yet("avro", 'Publish JSON and set format = "json".'),
    "json_schema": _not_yet("json_schema", 'Publish plain JSON, without schema framing, and set format = "json".'),
}


def decoder(format_name: str) -> Decode:
    """The decoder of a stream's format. TidecastError for one that this version does not have."""
    return FORMATS[format_name]()


__all__ = ["FORMATS", "DeadLetter", "Decode", "DecodedPoll", "Message", "ReplayVerdicts", "decoder"]
