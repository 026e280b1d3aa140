"""The live page under ACLs: Read on the topics that it shows is all it needs, and what is missing is named."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.app.forks import TIDECAST
from tests.app.published import forecast
from tests.app.running_worker import START_MS, STEP_MS, World, readings, wait_until
from tests.security.servers import SecuredServers
from tests.security.test_refusals import SCRAM, configure

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
SHOWN = ("forecasts", "accuracy", "drift", "dead-letters")
PASSWORD = "canary-of-the-page"


def asked(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


@pytest.mark.parametrize("lacking", [None, "forecasts"])
def test_a_user_of_its_own_with_read_on_what_is_shown(
    secured: SecuredServers, tmp_path: Path, lacking: str | None
) -> None:
    world = World(secured.kafka.address, "", f"in-{uuid.uuid4().hex[:8]}", 1, tmp_path)
    world.create(world.topic)
    world.deployment("a")
    prefix, user = f"{world.topic}.a", f"page-{uuid.uuid4().hex[:8]}"
    topics = {world.topic, *(f"{prefix}.{kind}" for kind in SHOWN)} - {f"{prefix}.{lacking}"}
    secured.add_reader(user, PASSWORD, *topics)
    world.send(readings([[1.5]]))
    origin = START_MS // STEP_MS
    producer = Producer({"bootstrap.servers": secured.kafka.address})
    key, value = forecast("s0", origin, [[1.0] * 6] * 9)
    producer.produce(f"{prefix}.forecasts", value, key)
    assert producer.flush(30) == 0
    login = SCRAM | {"sasl.username": user, "sasl.password": PASSWORD}
    path = configure(tmp_path / "page.toml", secured, "sasl", login)
    text = path.read_text().replace("guarded.in", world.topic)
    path.write_text(f'{text}horizon = 6\n[streams.tides.outputs]\nprefix = "{prefix}"\n[api]\nport = 0\n')
    api = world.start(path, (TIDECAST, "api"))
    url = api.wait_for("started")["http"]
    if lacking is None:
        wait_until(lambda: asked(f"{url}/readyz")["ready"], 30, "the page to be ready")
        (series,) = asked(f"{url}/api/v1/streams/tides/series")["series"]
        assert (series["series_id"], series["last_value"], series["status"]) == ("s0", 1.5, "ok")
        newest = asked(f"{url}/api/v1/streams/tides/forecast?series_id=s0")
        assert newest["quantiles"] == json.loads(value)["quantiles"]
        assert secured.connected(api.process.pid) == {"kafka"}  # as the network policies have it
    else:
        named = f"This user may not read {prefix}.forecasts: give it Read on them."
        wait_until(lambda: asked(f"{url}/readyz")["reasons"].get("topics") == named, 30, "the right to be named")
    api.kill()
    assert PASSWORD not in api.log_path.read_text()
