"""What `tidecast api` answers is what was published, and what it refuses it refuses with a sentence."""

from __future__ import annotations

import http.client
import json
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from stream_app.schemas.message_schemas import MESSAGES
from tests.api.conftest import SERIES, TICKS, TOKEN, Plant, start_api
from tests.app.running_worker import START_MS, STEP_MS, World, wait_until

STREAM = "/api/v1/streams/tides"
HORIZON = 6


def moment(tick: int) -> str:
    start = datetime.fromtimestamp((START_MS + tick * STEP_MS) / 1000, UTC)
    return start.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("name", [SERIES[0], SERIES[-1]])
def test_the_newest_forecast_is_the_one_that_was_published(plant: Plant, name: str) -> None:
    found = plant.api.get(f"{STREAM}/forecast", series_id=name)
    assert found == plant.world.forecasts("one")[name, moment(TICKS - 1), 0]
    TypeAdapter(MESSAGES["forecasts"]).validate_python(found)


@pytest.mark.parametrize(("tick", "second"), [(TICKS - 1, 0), (40, 0), (40, 599), (12, 300)])
def test_a_forecast_as_of_a_past_time_is_the_newest_that_had_an_origin_by_then(
    plant: Plant, tick: int, second: int
) -> None:
    as_of = datetime.fromtimestamp((START_MS + tick * STEP_MS) / 1000, UTC) + timedelta(seconds=second)
    found = plant.api.get(f"{STREAM}/forecast", series_id=SERIES[1], as_of=as_of.isoformat())
    assert found == plant.world.forecasts("one")[SERIES[1], moment(tick), 0]


def test_what_is_beyond_the_history_is_refused_with_the_reason(plant: Plant) -> None:
    status, told = plant.api.ask(f"{STREAM}/forecast", series_id=SERIES[1], as_of="2020-01-01T00:00:00Z")
    assert (status, "api.history" in told["detail"]) == (404, True)
    status, told = plant.api.ask(f"{STREAM}/forecast", series_id=SERIES[1], as_of=moment(-3))
    assert (status, "oldest forecast" in told["detail"]) == (404, True)
    status, told = plant.api.ask(f"{STREAM}/forecast", series_id=SERIES[1], as_of="yesterday")
    assert (status, told["detail"].startswith("as_of: ")) == (422, True)


def test_values_are_those_that_were_sent(plant: Plant) -> None:
    for place, name in enumerate(SERIES):
        found = plant.api.get(f"{STREAM}/values", series_id=name)
        assert found["times"] == [moment(tick) for tick in range(TICKS)]
        np.testing.assert_allclose(found["values"], plant.values[:, place], rtol=1e-6)
    assert len(plant.api.get(f"{STREAM}/values", series_id=SERIES[0], limit=7)["values"]) == 7


def test_accuracy_is_the_newest_that_was_published(plant: Plant) -> None:
    published = [json.loads(each.value()) for each in plant.world.published("one", "accuracy")]
    newest = {each["series_id"]: each for each in published}
    for name in SERIES:
        found = plant.api.get(f"{STREAM}/accuracy", series_id=name)
        assert found["coverage"] == pytest.approx(newest[name]["coverage"][0], rel=1e-6)
        assert found["interval"] == pytest.approx(0.8)
        assert [each["at"] for each in found["over_time"]] == sorted(each["at"] for each in found["over_time"])
        assert len(found["over_time"]) > 10
    whole = plant.api.get(f"{STREAM}/accuracy")
    assert whole["coverage"] == pytest.approx(np.mean([newest[name]["coverage"][0] for name in SERIES]), rel=1e-5)


def test_series_are_found_filtered_and_sorted(plant: Plant) -> None:
    found = plant.api.get(f"{STREAM}/series", search="PUMP-1")
    assert [each["series_id"] for each in found["series"]] == [SERIES[0], SERIES[1]]
    assert {each["status"] for each in found["series"]} <= {"ok", "fallback"}
    every = plant.api.get(f"{STREAM}/series", sort="coverage", descending="true")
    covers = [each["coverage"] for each in every["series"]]
    assert covers == sorted(covers, reverse=True)
    part = plant.api.get(f"{STREAM}/series", offset=2, limit=2)
    assert (part["total"], [each["series_id"] for each in part["series"]]) == (5, sorted(SERIES)[2:4])
    assert plant.api.get(f"{STREAM}/series", search="nobody")["series"] == []


def test_a_dead_letter_has_its_reason_and_its_text(plant: Plant) -> None:
    (letter,) = plant.api.get(f"{STREAM}/dead-letters")
    assert (letter["reason"], letter["key"]) == ("malformed", "pump-1.flow")
    assert "<img src=x" in letter["value"]
    assert plant.api.get(STREAM)["dead_letters"] == {"malformed": 1}


def test_models_have_their_report(plant: Plant) -> None:
    (model,) = plant.api.get(f"{STREAM}/models")
    assert (model["model"], model["has_report"], model["problem"]) == ("ridge", True, None)
    report = plant.api.get(f"{STREAM}/models/{model['version']}")
    assert report["version"] == model["version"]
    assert plant.api.get(f"{STREAM}/models/candidate") == report
    status, told = plant.api.ask(f"{STREAM}/models/none")
    assert (status, "tidecast models list" in told["detail"]) == (404, True)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/api/v1/streams/tide", "but tides"),
        (f"{STREAM}/forecast?series_id=pump-9", "no series 'pump-9'"),
        (f"{STREAM}/values?series_id=%00", "no series"),
        (f"{STREAM}/accuracy?series_id=pump-9", "no series"),
        (f"{STREAM}/drift?series_id=pump-9", "no series"),
        ("/page/tides/series?series_id=pump-9", "no series"),
        ("/api/v1/events?stream=tide", "but tides"),
        ("/assets/..%2fshell.html", "Not Found"),
    ],
)
def test_what_is_not_there_is_said_so(plant: Plant, path: str, named: str) -> None:
    status, told = plant.api.ask(path)
    assert (status, named in told["detail"]) == (404, True), told


def test_nobody_gets_in_without_the_token(plant: Plant) -> None:
    shown = plant.api.token
    try:
        for path in (STREAM, f"{STREAM}/series", "/page/tides/over-time", "/api/v1/events?stream=tides"):
            plant.api.token = None
            status, told = plant.api.ask(path)
            assert (status, "Authorization: Bearer" in told["detail"]) == (401, True)
            assert plant.api.headers["www-authenticate"].startswith("Bearer")
            plant.api.token = TOKEN[:-1] + "x"
            assert plant.api.ask(path)[0] == 401
        plant.api.token = None
        assert [plant.api.ask(path)[0] for path in ("/livez", "/readyz", "/", "/assets/live.js")] == [200] * 4
    finally:
        plant.api.token = shown


def test_every_answer_tells_browsers_to_be_strict(plant: Plant) -> None:
    for path in ("/", STREAM, "/api/v1/streams/none", "/assets/plotly.min.js"):
        plant.api.ask(path)
        policy = plant.api.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"https?:|\*", policy)
        assert plant.api.headers["x-content-type-options"] == "nosniff"
    assert "server" not in plant.api.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(plant: Plant, method: str) -> None:
    assert plant.api.ask(STREAM, method=method)[0] == 405


def test_a_body_is_not_taken(plant: Plant) -> None:
    host, port = plant.api.url.removeprefix("http://").split(":")
    for told in ({"Content-Length": "5000000"}, {"Transfer-Encoding": "chunked"}):
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.putrequest("GET", STREAM)
        for name, value in ({"Authorization": f"Bearer {TOKEN}"} | told).items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


def test_events_tell_that_something_changed(plant: Plant) -> None:
    host, port = plant.api.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request(
        "GET", f"/api/v1/events?stream=tides&series_id={SERIES[0]}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    answer = connection.getresponse()
    assert answer.getheader("content-type").startswith("text/event-stream")

    def state() -> dict[str, Any]:
        line = answer.readline()
        while not line.startswith(b"data: "):
            assert line, "the stream of events ended"
            line = answer.readline()
        return dict(json.loads(line[6:]))

    before = state()
    assert before["reasons"] == {}
    plant.world.send([("brief", json.dumps({"series_id": "brief", "timestamp": START_MS, "value": 1e9}))])
    assert state()["version"] > before["version"]
    connection.close()
    plant.world.send([("brief", None)])


def test_the_document_names_every_route_and_no_other_host(plant: Plant) -> None:
    document = plant.api.get("/openapi.json")
    assert {f"{STREAM.replace('tides', '{stream}')}/forecast", "/api/v1/events", "/api/v1/status"} <= document[
        "paths"
    ].keys()
    assert all(set(ways) == {"get"} for ways in document["paths"].values())
    assert plant.api.ask("/docs")[0] == 404


def test_a_deleted_series_is_gone(plant: Plant) -> None:
    name = "short-lived"
    plant.world.send([(name, json.dumps({"series_id": name, "timestamp": START_MS, "value": 1.0}))])
    there = lambda: plant.api.get(f"{STREAM}/series", search=name)["total"]  # noqa: E731
    wait_until(lambda: there() == 1, 20, "the series to be known")
    plant.world.send([(name, None)])
    wait_until(lambda: there() == 0, 20, "the series to be gone")


def test_it_may_start_before_the_broker_and_says_what_is_missing(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = World(f"127.0.0.1:{port}", "redis://127.0.0.1:1", "nothing", 1, tmp_path)
    (tmp_path / "alone.created").touch()
    api = start_api(world, world.deployment("alone"))
    try:
        assert api.ask("/livez")[0] == 200
        wait_until(lambda: "kafka" in api.ask("/readyz")[1]["reasons"], 20, "Kafka to be missed")
        assert api.ask("/readyz")[0] == 503
        assert api.get(f"{STREAM}")["series"] == 0
        status, told = api.ask(f"{STREAM}/forecast", series_id="a")
        assert (status, "no series" in told["detail"]) == (404, True)
    finally:
        api.process.kill()


def test_missing_topics_are_named_and_found_when_they_come(world: World) -> None:
    (world.folder / "late.created").touch()
    config = world.deployment("late")
    api = start_api(world, config)
    reasons = lambda: api.ask("/readyz")[1]["reasons"]  # noqa: E731
    wait_until(lambda: f"{world.topic}.late.forecasts" in reasons().get("topics", ""), 20, "topics to be missed")
    assert "tidecast topics create" in reasons()["topics"]
    world.create(*(f"{world.topic}.late.{kind}" for kind in ("forecasts", "accuracy", "drift", "dead-letters")))
    wait_until(lambda: not reasons(), 20, "the topics to be found")


def test_what_can_be_reached_from_elsewhere_needs_a_token(world: World) -> None:
    api = start_api(world, world.deployment("open"), more='host = "0.0.0.0"')
    assert api.process.process.wait(30) == 2
    assert "TIDECAST__API__TOKEN_FILE" in api.process.log_path.read_text()
