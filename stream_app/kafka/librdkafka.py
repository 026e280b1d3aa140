"""librdkafka, below confluent-kafka, for what confluent-kafka does with a Python object for each message or record.

Nothing is linked, and nothing inside confluent-kafka is touched. The library is the one that it has loaded, and the
functions are its public ones (rdkafka.h). librdkafka itself gives us its handle of a client, because it loads our
library as a plugin named in the client's configuration.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import KafkaError

from stream_app.kafka import compiled

PLUGINS = "plugin.library.paths"
ADDRESS = ctypes.c_void_p
_FUNCTIONS = (  # as in librdkafka.h
    "rd_kafka_conf_interceptor_add_on_new",
    "rd_kafka_interceptor_add_on_acknowledgement",
    "rd_kafka_consume_batch_queue",
    "rd_kafka_message_destroy",
    "rd_kafka_message_timestamp",
    "rd_kafka_message_headers",
    "rd_kafka_header_get_all",
    "rd_kafka_queue_forward",
    "rd_kafka_produce",
    "rd_kafka_last_error",
    "rd_kafka_topic_name",
)
_DECLARED: dict[str, tuple[list[Any], Any]] = {
    "rd_kafka_queue_new": ([ADDRESS], ADDRESS),
    "rd_kafka_queue_get_partition": ([ADDRESS, ctypes.c_char_p, ctypes.c_int32], ADDRESS),
    "rd_kafka_queue_destroy": ([ADDRESS], None),
    "rd_kafka_topic_new": ([ADDRESS, ctypes.c_char_p, ADDRESS], ADDRESS),
    "rd_kafka_topic_destroy": ([ADDRESS], None),
    "rd_kafka_topic_name": ([ADDRESS], ctypes.c_char_p),
}
Client = TypeVar("Client")
_opening = threading.Lock()
_loaded: Any = None


class Undelivered(NamedTuple):
    """An error with which a client gave up a record."""

    topic: str
    error: KafkaError


class _Error(ctypes.Structure):
    """As in client.h."""

    _fields_ = [("code", ctypes.c_int), ("is_written", ctypes.c_int), ("topic", ctypes.c_char * 256)]


_Errors = _Error * 8


class Handle:
    """A client as librdkafka knows it. It must not be used after the client is gone."""

    def __init__(self, client: int, undelivered: int) -> None:
        self.client = client
        self._errors = _Errors.from_address(undelivered)  # of the C library, and never freed

    def undelivered(self) -> list[Undelivered]:
        """Records that were not delivered so far: each kind of error once, with a topic that had it."""
        return [Undelivered(each.topic.decode(), KafkaError(each.code)) for each in self._errors if each.is_written]


def opened(make: Callable[[dict[str, Any]], Client], properties: Mapping[str, Any]) -> tuple[Client, Handle]:
    """A consumer or producer of confluent-kafka's, and its handle."""
    library()
    plugins = ";".join(filter(None, (properties.get(PLUGINS), compiled.PATH)))
    undelivered = ADDRESS()
    with _opening:
        client = make({**properties, PLUGINS: plugins})
        handle = compiled.newest_client(0, ctypes.addressof(undelivered))
    if not handle or not undelivered.value:
        raise RuntimeError("expected librdkafka to load plugins, as the one that confluent-kafka brings does")
    return client, Handle(handle, undelivered.value)


def library() -> Any:
    """The librdkafka that confluent-kafka has loaded."""
    global _loaded
    if _loaded is None:
        loaded = ctypes.PyDLL(_path())
        for name, (arguments, result) in _DECLARED.items():
            function = getattr(loaded, name)
            function.argtypes, function.restype = arguments, result
        functions = (ADDRESS * len(_FUNCTIONS))(*(ctypes.cast(loaded[name], ADDRESS).value for name in _FUNCTIONS))
        compiled.use_functions(len(_FUNCTIONS), ctypes.addressof(functions))
        _loaded = loaded
    return _loaded


def _path() -> str:
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if "librdkafka" in Path(path).name:
            return path
    raise RuntimeError("expected confluent-kafka to have loaded librdkafka as a library of its own, found none")
