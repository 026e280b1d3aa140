"""What the API keeps of each series is what a plain loop over the log would keep, however the log was cut."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from io import BytesIO

import fastavro
import numpy as np
import pytest

from model_core.outcomes import DriftRecord
from model_core.spec import StreamSpec
from stream_app.api.cells import AGGREGATES, Cells
from stream_app.api.following import Feed
from stream_app.api.reading import drift_answer
from stream_app.api.recent import RecentRows
from stream_app.api.roster import NONE, Roster
from stream_app.api.view import OK, StreamView
from stream_app.schemas.avro_schemas import SCHEMAS
from stream_app.settings.model import Api
from stream_app.wire.message_columns import MessageColumns
from stream_app.wire.messages import encode_drift
from tests.app.polls import message
from tests.app.published import forecast, moment

SERIES = 5
SPEC = StreamSpec(topic="tides", freq=600_000)


@pytest.mark.parametrize("round_", range(60))
def test_recent_rows_are_those_of_a_loop(rng: np.random.Generator, round_: int) -> None:
    depth = int(rng.integers(2, 7))
    rows, kept = RecentRows(depth, SERIES, {"value": np.int64}), defaultdict(list)
    for part in range(6):
        count = int(rng.integers(0, 40))
        columns, keys = rng.integers(NONE, SERIES, count), rng.integers(1, 30, count)
        if round_ % 2:  # as they come: rising
            keys = np.sort(keys) + 20 * part
        values = rng.integers(0, 1000, count)
        rows.put(columns, keys, {"value": values})
        for column, key, value in zip(columns.tolist(), keys.tolist(), values.tolist(), strict=True):
            mine = kept[column]
            if mine and mine[-1][0] == key:
                mine[-1] = (key, value)
            elif not mine or key > mine[-1][0]:
                mine.append((key, value))
        for column in range(SERIES):
            found, fields = rows.of(column)
            assert list(zip(found.tolist(), fields["value"].tolist(), strict=True)) == kept[column][-depth:]
    means = dict(zip(*(each.tolist() for each in _means(rows)), strict=True))
    by_key = defaultdict(list)
    for column in range(SERIES):
        for key, value in kept[column][-depth:]:
            by_key[key].append(value)
    assert means == pytest.approx({key: float(np.mean(values)) for key, values in by_key.items()})


def _means(rows: RecentRows) -> tuple[np.ndarray, np.ndarray]:
    keys, means = rows.means(np.arange(SERIES))
    return keys, means["value"]


COMBINED = {
    "mean": np.mean,
    "sum": np.sum,
    "last": lambda values: values[-1],
    "min": np.min,
    "max": np.max,
    "count": len,
}


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_cells_combine_their_readings_as_the_stream_says(rng: np.random.Generator, aggregate: str) -> None:
    depth = 12
    cells, read, newest = Cells(depth, SERIES), defaultdict(list), defaultdict(int)
    for column in range(SERIES):
        cells.combine_by(column, aggregate)
    for part in range(8):
        count = int(rng.integers(0, 30))
        columns, values = rng.integers(NONE, SERIES, count), rng.normal(0, 5, count)
        ticks = rng.integers(1, 9, count) + 4 * part
        cells.put(columns, ticks, values)
        for column, tick in zip(columns.tolist(), ticks.tolist(), strict=True):
            newest[column] = max(newest[column], tick)
        for column, tick, value in zip(columns.tolist(), ticks.tolist(), values.tolist(), strict=True):
            if tick > newest[column] - depth:
                read[column, tick].append(value)
        for column in range(SERIES):
            shown = np.arange(newest[column] - depth + 1, newest[column] + 1)
            wanted = [COMBINED[aggregate](read[column, t]) if read.get((column, t)) else np.nan for t in shown.tolist()]
            np.testing.assert_allclose(cells.values(column, shown), wanted, rtol=1e-5, atol=1e-6)
    assert np.isnan(cells.last(np.array([0]))).item() == (newest[0] == 0)


def test_readings_that_are_all_older_than_what_is_shown_are_passed_over() -> None:
    """Somebody sends a whole file again."""
    cells = Cells(12, SERIES)
    cells.put(np.array([0, 1]), np.array([100, 5]), np.array([7.0, 8.0]))
    cells.put(np.array([0, 0]), np.array([1, 88]), np.array([1.0, 2.0]))
    assert cells.values(0, np.arange(89, 101)).tolist()[-1] == 7.0
    assert np.isnan(cells.values(0, np.arange(89, 100))).all()
    assert cells.last(np.array([0, 1])).tolist() == [7.0, 8.0]


def test_a_full_roster_turns_away_and_a_deletion_makes_room() -> None:
    roster = Roster(2)
    assert roster.columns(["a", "b", "a", "c"]).tolist() == [0, 1, 0, NONE]
    assert roster.is_full
    assert roster.remove("a") == 0
    assert roster.columns(["c", "a"]).tolist() == [0, NONE]
    assert dict(roster.taken()) == {0: "c", 1: "b"}
    assert [roster.names[column] for column in roster.by_name()] == ["b", "c"]
    roster.remove("b")
    assert [roster.names[column] for column in roster.by_name()] == ["c"]
    roster.columns(["a"])
    assert [roster.names[column] for column in roster.by_name()] == ["a", "c"]


def in_avro(value: bytes) -> bytes:
    body = json.loads(value) | {"origin": datetime.fromisoformat(moment(5)), "issued_at": datetime.now(UTC)}
    stream = BytesIO(bytes([0, 0, 0, 0, 7]))
    stream.seek(5)
    fastavro.schemaless_writer(stream, fastavro.parse_schema(SCHEMAS["forecasts"]), body)
    return stream.getvalue()


def test_a_forecast_in_avro_is_seen_as_one_in_json_and_a_torn_one_is_counted() -> None:
    view = StreamView("tides", SPEC, Api(series_max=10))
    key, value = forecast("a", 5, [[1.0, 2.0]] * 9)
    avro = in_avro(value)
    values = [avro, avro[: len(avro) // 2], avro[:4]]
    sent = [message(each, key=key, partition=3, offset=11 + place) for place, each in enumerate(values)]
    Feed(view, "forecasts", None).take(MessageColumns.of(sent), 4)
    keys, rows = view.forecasts.of(0)
    assert (keys.tolist(), rows["offset"].tolist(), view.unreadable) == ([5], [11], 2)
    assert (view.statuses[0], view.partitions[0], view.model_names.texts[view.models[0]]) == (OK, 3, "ridge")


def test_a_deleted_series_is_gone_and_what_was_told_of_it() -> None:
    view = StreamView("tides", SPEC, Api(series_max=10))
    feed = Feed(view, "forecasts", None)
    sent = [
        message(value, key=key, offset=tick) for tick, name in enumerate("aab") for key, value in [told(name, tick)]
    ]
    feed.take(MessageColumns.of([*sent, message(None, key=b"a", offset=3)]), 1)
    assert [name for _, name in view.roster.taken()] == ["b"]
    feed.take(MessageColumns.of([message(told("a", 9)[1], key=b"a", offset=4)]), 1)
    assert view.forecasts.of(view.roster.find("a"))[1]["offset"].tolist() == [4]
    assert view.unreadable == 0


def told(name: str, tick: int) -> tuple[bytes, bytes]:
    return forecast(name, 5 + tick, [[1.0, 2.0]] * 9)


def test_of_a_partitions_reports_only_changes_are_told_and_of_series_all() -> None:
    view = StreamView("tides", SPEC, Api(series_max=10))

    def at(tick: int, whom: str, state: str) -> bytes:
        series = whom if whom.startswith("s") else None
        record = DriftRecord(series, None if series else whom, "cusum", 1.0, 2.0, state, tick, tick, tick)
        ((_, value),) = encode_drift(SPEC, "tides", 0, [record])
        return value

    told = [
        ("p0", "ok"),
        ("p0", "warning"),
        ("p1", "ok"),
        ("s1", "drift"),
        ("p0", "warning"),
        ("p0", "ok"),
        ("s1", "ok"),
    ]
    view.feed_drift([at(100 + number, *each) for number, each in enumerate(told)])
    view.feed_drift([at(101, "s2", "drift")])  # of a partition that is read later
    found = drift_answer(view, None, 10)
    assert [(each.series_id or each.group, each.state) for each in found] == [
        *[("s1", "ok"), ("p0", "ok"), ("s1", "drift")],
        *[("p0", "warning"), ("s2", "drift")],
    ]
    assert [each.at for each in found] == sorted((each.at for each in found), reverse=True)
    assert [each.state for each in drift_answer(view, "s1", 1)] == ["ok"]
