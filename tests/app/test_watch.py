"""The live view shows the newest forecast and how good the last ones were, and fits any terminal."""

import io

import numpy as np
import pytest
from rich.console import Console

from stream_app.cli import main
from stream_app.kafka.producing import create_topic
from stream_app.kafka.topic_follower import TopicFollower
from stream_app.watch import WatchModel
from stream_app.watch.view import Frame, render, short_number
from tests.app.published import LEVELS, STEP_MS, accuracy, forecast, moment

SCORED = {"error": 0.5, "pinball": 1.0, "covered": [True, True, False, False]}
NAIVE = {"seasonal_naive": 2.0, "last_value": 1.25}


def ramp(horizon: int = 24, start: float = 10.0) -> list[list[float]]:
    """[Q][H], an interval that widens."""
    steps = np.arange(1, horizon + 1)
    return [(start + steps + (level - 0.5) * steps).tolist() for level in LEVELS]


def drawn(model: WatchModel, width: int, height: int, sort: str = "name") -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(render(model.lines(sort), Frame("appliances", "running", sort), width=width, height=height))
    return console.file.getvalue().splitlines()


def filled(series: int) -> WatchModel:
    model = WatchModel()
    for number in range(series):
        name = f"pump-{number}.a-rather-long-variable-name"
        records = [
            accuracy(name, tick, [{"horizon": 24, "actual": float(tick % 7), "baselines": NAIVE, **SCORED}])
            for tick in range(40)
        ]
        model.feed("accuracy", records)
        model.feed("forecasts", [forecast(name, 63, ramp())])
    return model


def test_the_messages_of_these_tests_are_those_that_the_worker_publishes():
    from pydantic import TypeAdapter

    from stream_app.schemas.message_schemas import MESSAGES

    TypeAdapter(MESSAGES["forecasts"]).validate_json(forecast("a", 5, ramp())[1])
    scored = {"horizon": 1, "actual": 3.0, "baselines": NAIVE, **SCORED}
    TypeAdapter(MESSAGES["accuracy"]).validate_json(accuracy("a", 5, [scored])[1])


def test_of_a_tick_the_newest_value_is_shown_and_older_ticks_change_nothing():
    model = WatchModel()
    for tick_ms, value in ((0, 1.0), (600_000, 2.0), (600_000, 3.0), (0, 9.0)):
        model.feed_reading("a", tick_ms, value)
    (line,) = model.lines()
    assert (line.last_value, list(line.history)) == (3.0, [(0, 1.0), (600_000, 3.0)])


def test_the_newest_forecast_of_a_series_is_shown():
    model = WatchModel()
    model.feed("forecasts", [forecast("a", 5, ramp(start=1.0)), forecast("b", 5, ramp()), forecast("a", 6, ramp())])
    line_a, line_b = model.lines()
    assert moment(6) == line_a.forecast.origin.isoformat().replace("+00:00", "Z")
    assert line_a.forecast.median.tolist() == line_b.forecast.median.tolist() == ramp()[4]
    assert line_a.forecast.interval == 0.8
    assert model.forecasts_seen == 3


def test_skill_is_against_the_better_naive_forecast():
    model = WatchModel()
    model.feed("accuracy", [accuracy("a", 5, [{"horizon": 1, "actual": 3.0, "baselines": NAIVE, **SCORED}])])
    (line,) = model.lines()
    assert line.skill == pytest.approx(1 - 1.0 / 1.25)
    assert (line.coverage, line.last_value) == (1.0, 3.0)


def test_what_the_worker_says_of_its_coverage_is_what_is_shown():
    model = WatchModel()
    model.feed(
        "accuracy", [accuracy("a", 5, [{"horizon": 1, "actual": 3.0, **SCORED}], coverage=[0.81, 0.6, 0.4, 0.2])]
    )
    assert model.lines()[0].coverage == 0.81


def test_a_missing_actual_is_not_scored():
    model = WatchModel()
    model.feed("accuracy", [accuracy("a", 5, [{"horizon": 1}])])
    (line,) = model.lines()
    assert (line.skill, line.coverage, line.last_value) == (None, None, None)


def test_a_deleted_series_leaves_the_view():
    model = WatchModel()
    model.feed("forecasts", [forecast("a", 5, ramp()), (b"a", None)])
    assert model.lines() == []


@pytest.mark.parametrize("kind", ["forecasts", "accuracy", "drift"])
@pytest.mark.parametrize("value", [b"no json", b"[]", b'{"series_id": 5}', b"\xff"])
def test_a_message_that_is_none_of_ours_ends_nothing(kind, value):
    model = WatchModel()
    model.feed(kind, [(b"a", value)])
    model.lines()
    assert model.unreadable == 1


def test_the_worst_come_first_when_sorted_by_skill():
    model = WatchModel()
    for name, loss in (("good", 0.5), ("bad", 2.0)):
        scored = {"horizon": 1, "actual": 3.0, "baselines": NAIVE, **SCORED, "pinball": loss}
        model.feed("accuracy", [accuracy(name, 5, [scored])])
    model.feed("forecasts", [forecast("unknown", 5, ramp())])
    assert [line.series_id for line in model.lines("skill")] == ["bad", "good", "unknown"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60), (60, 10), (40, 20)])
@pytest.mark.parametrize("series", [0, 1, 9, 26, 300])
def test_a_frame_never_exceeds_the_terminal(width, height, series):
    rows = drawn(filled(series), width, height)
    assert len(rows) <= height
    assert all(len(row) <= width for row in rows)


@pytest.mark.parametrize(("width", "heads"), [(40, "cover skill"), (60, "cover skill"), (75, "80% at the end cover")])
def test_a_narrow_terminal_has_fewer_columns_and_those_whole(width, heads):
    rows = drawn(filled(3), width, 24)
    assert heads in " ".join(rows[1].split())
    assert "…" not in "".join(row[row.index("…") + 1 :] if row.startswith("pump") else row for row in rows[1:-1])


def test_the_past_ends_where_the_forecast_begins_however_far_the_readings_are_ahead():
    model = WatchModel()
    for tick in (58, 59, 61, 62, 63, 64, 65):
        model.feed_reading("a", tick * STEP_MS, float(tick))
    model.feed("forecasts", [forecast("a", 62, ramp())])
    (line,) = model.lines()
    assert line.past(5).tolist() == pytest.approx([58, 59, np.nan, 61, 62], nan_ok=True)
    assert line.last_value == 62


@pytest.mark.parametrize(("pinball", "said"), [(1.254, "0%"), (1.0, "+20%"), (2.5, "-100%")])
def test_a_skill_of_nearly_nothing_has_no_sign(pinball, said):
    model = WatchModel()
    scored = {"horizon": 24, "actual": 3.0, "baselines": NAIVE, **SCORED, "pinball": pinball}
    model.feed("accuracy", [accuracy("a", tick, [scored]) for tick in range(40)])
    model.feed("forecasts", [forecast("a", 63, ramp())])
    assert said in "\n".join(drawn(model, 120, 24)).split()


def test_series_that_do_not_fit_are_counted():
    rows = drawn(filled(30), 80, 24)
    assert "30 series by name · 10 do not fit" in rows[-1]
    assert sum("pump-" in row for row in rows) == 20


def test_with_room_a_series_has_two_rows_and_its_reason():
    model = filled(2)
    model.feed("forecasts", [forecast("z", 63, ramp(), model="seasonal_naive", status="fallback", reason="too_short")])
    text = "\n".join(drawn(model, 160, 24))
    assert "seasonal naive" in text
    assert "too short" in text
    assert "01-01 10:30" in text, "the origin"


@pytest.mark.parametrize("horizon", [1, 2, 500])
@pytest.mark.parametrize("height", [6, 40])
def test_any_horizon_is_drawn(horizon, height):
    model = WatchModel()
    model.feed("forecasts", [forecast(name, 63, ramp(horizon)) for name in "abc"])
    assert len(drawn(model, 80, height)) <= height


@pytest.mark.parametrize("value", [0, 1, -1, 9.9999, 123456.7, -0.000123, 1.5e300, -99999.5, 999999.4])
def test_numbers_are_short(value):
    assert len(short_number(value)) <= 9
    assert float(short_number(value)) == pytest.approx(value, rel=0.06, abs=1e-12)


def test_following_begins_with_the_newest_and_sees_topics_that_come_later(kafka_bootstrap, topic_prefix):
    from confluent_kafka import Producer

    client = {"bootstrap.servers": kafka_bootstrap}
    first, later = f"{topic_prefix}.forecasts", f"{topic_prefix}.accuracy"
    producer = Producer(client)
    create_topic(first, 1, client)
    for number in range(100):
        producer.produce(first, str(number).encode(), b"a")
    producer.flush()
    with TopicFollower([first, later], client, newest=10) as follower:
        assert follower.refresh() == [later]
        seen = []
        while not follower.caught_up():
            seen += follower.poll(0.1).get(first, [])
        assert [int(message.value()) for message in seen] == list(range(90, 100))
        create_topic(later, 1, client)
        assert follower.refresh() == []
        producer.produce(later, b"x", b"a")
        producer.flush()
        came: dict = {}
        while later not in came:
            came = follower.poll(0.1)
        assert [(message.key(), message.value()) for message in came[later]] == [(b"a", b"x")]


@pytest.mark.services
def test_an_input_that_is_not_there_is_waited_for_by_name(kafka_bootstrap, topic_prefix, tmp_path, capsys):
    client = {"bootstrap.servers": kafka_bootstrap}
    for kind in ("forecasts", "accuracy", "drift"):
        create_topic(f"{topic_prefix}.{kind}", 1, client)
    path = tmp_path / "tidecast.toml"
    path.write_text(
        f'[kafka]\nbootstrap_servers = "{kafka_bootstrap}"\n[streams.tides]\ntopic = "{topic_prefix}.in"\n'
        f'freq = "10min"\n[streams.tides.outputs]\nprefix = "{topic_prefix}"\n'
    )
    with pytest.raises(SystemExit) as ended:
        main(["watch", "--once", "--config", str(path)])
    assert not ended.value.code
    assert f"0 forecasts · waiting for {topic_prefix[:20]}" in capsys.readouterr().out
