"""Messages that came while the pipeline was behind, and a rebalance that takes some of their partitions away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError

from stream_app.kafka.fetch_queue import ClientError, Fetched
from stream_app.partitions.names import InputTopics, StreamPartition
from stream_app.polling.intake import Intake
from stream_app.settings.model import Limits
from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import message


class FetchedOnce:
    """Stands where the queue of fetched messages does: gives this once, and nothing after."""

    def __init__(self, messages: dict[str, MessageColumns], errors: list[ClientError]) -> None:
        self._fetched = Fetched(messages, errors)

    def take(self, most: int, *, first_s: float, gather_s: float, most_s: float) -> Fetched:
        fetched, self._fetched = self._fetched, Fetched({}, [])
        return fetched


def intake(
    fetched: dict[str, MessageColumns] | None = None, errors: tuple[ClientError, ...] = ()
) -> tuple[Intake, Any]:
    """With the assignment that it looks at."""
    settings: Any = SimpleNamespace(limits=Limits(), streams={"tides": SimpleNamespace(topic="in")})
    assignment: Any = SimpleNamespace(owned={})
    made = Intake(settings, InputTopics(settings.streams), assignment)
    made._fetched = FetchedOnce(fetched or {}, list(errors))  # type: ignore[assignment]
    return made, assignment


def ours(*partitions: int, start_offset: int = 0) -> dict[StreamPartition, Any]:
    return {StreamPartition("tides", each): SimpleNamespace(start_offset=start_offset) for each in partitions}


def polled(*places: tuple[int, int]) -> MessageColumns:
    """Messages of (partition, offset)."""
    return MessageColumns.of([message(b"{}", partition=each, offset=offset) for each, offset in places])


def places(messages: dict[str, MessageColumns]) -> list[tuple[int, int]]:
    return [(each.partition(), each.offset()) for some in messages.values() for each in some]


def test_what_a_rebalance_takes_away_while_the_pipeline_is_behind_stays_away() -> None:
    waiting, assignment = intake()
    assignment.owned = ours(0, 1)
    waiting.keep({"tides": polled((0, 5), (1, 7))})
    assignment.owned = ours(1)
    waiting.only_ours()
    messages, _ = waiting.take(1.0)
    assert places(messages) == [(1, 7)]


def test_what_is_fetched_when_partitions_changed_hands_is_of_ours_once_each_and_in_the_order_of_the_log() -> None:
    fetched, assignment = intake({"in": polled((0, 8), (1, 9), (0, 6), (0, 7), (0, 8))})
    assignment.owned = ours(0, start_offset=7)
    assert places(fetched.take(1.0)[0]) == [(0, 7), (0, 8)]
    nothing, assignment = intake({"in": polled((1, 9), (0, 6))})
    assignment.owned = ours(0, start_offset=7)
    assert nothing.take(1.0)[0] == {}


def test_an_error_about_no_partition_survives_a_rebalance_and_the_end_of_one_that_went_does_not() -> None:
    fault = ClientError("", -1, KafkaError._MAX_POLL_EXCEEDED, "maximum poll interval exceeded")
    ends = [ClientError("in", each, KafkaError._PARTITION_EOF, "") for each in (0, 1)]
    said, assignment = intake(errors=(fault, *ends))
    said.take(1.0)
    assignment.owned = ours(0)
    said.only_ours()
    assert said.take_said() == [fault, ends[0]]
    assert said.take_said() == []


def test_what_the_client_says_once_is_heard_though_all_is_read_again() -> None:
    """While a rewind is asked for nothing is handed on; what ends the worker must not go with what is read again."""
    fatal, fault = (ClientError("", -1, KafkaError._FATAL, text) for text in ("fenced", "something else"))
    end, message_of_no_use = ClientError("in", 0, KafkaError._PARTITION_EOF, ""), message(b"{}")
    said, assignment = intake(errors=(fatal, end))
    assignment.owned = ours(0)
    said.take(1.0)
    said.forget()
    spoken = [message_of_no_use, fault]
    said.drop(SimpleNamespace(consume=lambda count, wait_s: spoken), 0.1)  # type: ignore[arg-type]
    assert said.take_said() == [fatal, fault]
