"""Messages as columns say of each message what the message said, however they were cut and joined."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import NOW_MS, message

_bytes = st.none() | st.binary(max_size=12)
_headers = st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=4)), max_size=3)
_messages = st.lists(
    st.builds(
        message,
        value=_bytes,
        key=_bytes,
        partition=st.integers(0, 3),
        offset=st.integers(0, 50),
        time_ms=st.integers(0, NOW_MS),
        time_type=st.sampled_from([1, 2]),
        headers=_headers,
    ),
    max_size=12,
)


def said(each: Any) -> tuple[Any, ...]:
    return (each.value(), each.key(), each.partition(), each.offset(), each.timestamp(), each.headers() or None)


@given(_messages)
def test_each_message_is_as_it_was(messages: list[Any]) -> None:
    columns = MessageColumns.of(messages)
    assert [said(each) for each in columns] == [said(each) for each in messages]
    assert columns.values == [each.value() for each in messages]
    assert columns.keys == [each.key() for each in messages]
    assert columns.offsets.tolist() == [each.offset() for each in messages]
    wrote = [each.timestamp()[0] == 2 for each in messages]
    assert (columns.log_append.tolist() if columns.log_append is not None else []) == (wrote if any(wrote) else [])
    if columns.joined is not None:
        assert columns.joined.tobytes() == b"\n".join(each.value() for each in messages) + b"\0"
    else:
        assert not messages or None in columns.values


@given(st.lists(_messages, min_size=1, max_size=4), st.data())
def test_parts_that_were_chosen_and_joined_say_the_same(parts: list[list[Any]], data: st.DataObject) -> None:
    wanted, chosen = [], []
    for part in parts:
        kept = data.draw(st.lists(st.booleans(), min_size=len(part), max_size=len(part)))
        wanted += [each for each, keep in zip(part, kept, strict=True) if keep]
        chosen.append(MessageColumns.of(part).where(np.array(kept, bool)))
    joined = MessageColumns.concatenate(chosen)
    assert [said(each) for each in joined] == [said(each) for each in wanted]
    if joined.joined is not None:
        assert joined.joined.tobytes() == b"\n".join(each.value() for each in wanted) + b"\0"


@given(_messages)
def test_in_log_order_each_place_comes_once(messages: list[Any]) -> None:
    found = MessageColumns.of(messages).in_log_order()
    assert [(each.partition(), each.offset()) for each in found] == sorted(
        {(each.partition(), each.offset()) for each in messages}
    )


@given(_messages)
def test_they_part_by_partition_in_the_order_of_the_poll(messages: list[Any]) -> None:
    columns = MessageColumns.of(messages)
    by_partition: dict[int, list[int]] = {}
    for index, each in enumerate(messages):
        by_partition.setdefault(each.partition(), []).append(index)
    of = np.arange(len(messages))
    found = {partition: of[where].tolist() for partition, where in columns.part(of)} if messages else {}
    assert found == by_partition
