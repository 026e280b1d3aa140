"""What is read of published messages is what any reader of JSON reads of them, whichever way they are read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from stream_app.api.heads import MIDDLES, HeadReader, Heads
from stream_app.wire import numbered_texts
from stream_app.wire.members import NO_TIME
from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import message
from tests.app.published import accuracy, forecast

NAMES = ("a", "b.temp", "pump-7", "", "“quoted” \\ ", 'x,"quantiles":[[1', '],"model":"none', "ü", "a\nb", "n" * 1500)
TIMES = ("origin", "at")


def wanted(output: str, value: bytes | None) -> dict[str, Any] | None:
    """By the standard library; None for what is no such message."""
    try:
        body = json.loads(value or b"")
        assert isinstance(body["series_id"], str)
        dated = body["origin"] if output == "forecasts" else body.get("at") or body["origin"]
        assert isinstance(dated, str)
        found = {"series_id": body["series_id"], "at": datetime.fromisoformat(dated).timestamp() * 1000}
        if output == "forecasts":
            return found | {"model": body["model"], "status": body["status"], "reason": body["reason"]}
        return found | {"coverage": ([*body["coverage"], None])[0], "mase": body["mase"], "skill": body["skill"]}
    except (ValueError, KeyError, AssertionError, TypeError):
        return None


def found(output: str, heads: Heads) -> list[dict[str, Any]]:
    times = {name: heads.columns[name] for name in TIMES if name in heads.columns}
    at = times["origin"] if "at" not in times else np.where(times["at"] == NO_TIME, times["origin"], times["at"])
    columns = {name: texts.each() for name, texts in heads.texts.items()} | {"at": at.tolist()}
    for name in ("coverage", "mase", "skill"):
        if name in heads.columns:
            columns[name] = [None if np.isnan(each) else each for each in heads.columns[name].tolist()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def some(output: str, rng: np.random.Generator) -> bytes | None:
    """A message of that kind, perhaps a strange one, perhaps none."""
    name = NAMES[int(rng.integers(len(NAMES)))]
    changes: dict[str, Any] = {}
    if rng.random() < 0.2:
        changes["tags"] = {"site": ["north", {"floor": 3}], "é": None}
    if output == "forecasts":
        model, status, reason = [("ridge", "ok", None), ("last_value", "fallback", "no_model")][int(rng.integers(2))]
        changes |= {"model": model, "status": status, "reason": reason}
        value = forecast(name, int(rng.integers(1, 10**6)), [[1.5, -2e-7]] * 9, **changes)[1]
    else:
        covers = [None if rng.random() < 0.2 else float(rng.random()) for _ in range(int(rng.integers(0, 4)))]
        changes |= {"mase": float(rng.random()), "skill": None, "coverage": covers}
        value = accuracy(name, int(rng.integers(1, 10**6)), [{"horizon": 1, "actual": 2.0}], **changes)[1]
        if rng.random() < 0.3:
            body = json.loads(value)
            body["at"] = body.pop("origin")
            value = json.dumps(body).encode()
    if rng.random() < 0.5:  # as the worker writes it
        value = json.dumps(json.loads(value), separators=(",", ":"), ensure_ascii=bool(rng.random() < 0.5)).encode()
    return broken(value, rng) if rng.random() < 0.3 else value


def broken(value: bytes, rng: np.random.Generator) -> bytes | None:
    whole = json.loads(value)
    other = [
        value[: int(rng.integers(len(value)))],
        value[:-1] + b",}",
        b"\xff" + value,
        b"",
        b"null",
        b'{"series_id":5}',
        json.dumps(whole | {"origin": "yesterday", "at": 5}).encode(),
        json.dumps(whole | {"series_id": None}).encode(),
        json.dumps({name: each for name, each in whole.items() if name not in TIMES}).encode(),
        value + b" ",
        None,
    ]
    return other[int(rng.integers(len(other)))]


@pytest.mark.parametrize("output", ["forecasts", "accuracy"])
@pytest.mark.parametrize("round_", range(20))
def test_every_message_is_read_or_counted_as_json_itself_says(
    output: str, round_: int, rng: np.random.Generator
) -> None:
    reader = HeadReader(output)
    for _ in range(3):  # it remembers texts
        values = [some(output, rng) for _ in range(int(rng.integers(0, 60)))]
        heads = reader.read(MessageColumns.of([message(value) for value in values]))
        each = [wanted(output, value) for value in values]
        assert found(output, heads) == [one for one in each if one is not None]
        assert heads.rows.tolist() == [row for row, one in enumerate(each) if one is not None]
        assert heads.unreadable == sum(
            one is None and value is not None for one, value in zip(each, values, strict=True)
        )


def test_more_series_than_a_table_has_room_for_are_all_told(rng: np.random.Generator) -> None:
    reader = HeadReader("forecasts")
    names = [f"series-{number}-{'x' * int(rng.integers(40))}" for number in range(5_000)]
    for part in (names[:10], names, names[::-1]):
        value = forecast("?", 5, [[1.0]] * 9)[1].split(b'"?"')
        sent = [message(f'"{name}"'.encode().join(value)) for name in part]
        assert reader.read(MessageColumns.of(sent)).texts["series_id"].each() == part


def test_series_that_a_table_may_not_remember_are_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbered_texts, "TEXTS_MAX", 1 << 10)
    reader = HeadReader("forecasts")
    for start, count in ((0, 500), (500, 800), (0, 1_500), (1_500, 500)):
        names = [f"s{number}" for number in range(start, start + count)]
        sent = [message(forecast(name, 5, [[1.0]] * 9)[1]) for name in names]
        heads = reader.read(MessageColumns.of(sent))
        assert heads.texts["series_id"].each() == names
        assert set(heads.texts["model"].each()) == {"ridge"}


@pytest.mark.parametrize("output", ["forecasts", "accuracy"])
@pytest.mark.parametrize("round_", range(10))
def test_without_its_middle_a_message_says_the_same_of_itself(
    output: str, round_: int, rng: np.random.Generator
) -> None:
    begin, end = MIDDLES[output]
    whole, cut = [], []
    for value in (some(output, rng) for _ in range(40)):
        if value is None or wanted(output, value) is None:
            continue
        written = json.dumps(json.loads(value), separators=(",", ":")).encode()
        first, last = written.find(begin), written.rfind(end)
        whole.append(message(written))
        cut.append(message(written[:first] + written[last + 1 :] if 0 <= first < last else written))
    reader = HeadReader(output)
    told = [found(output, reader.read(MessageColumns.of(each))) for each in (whole, cut)]
    assert told[0] == told[1]
