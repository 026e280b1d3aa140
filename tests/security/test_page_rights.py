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

from stream_app.doctor import examine
from stream_app.settings import Settings
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


def configured(secured: SecuredServers, world: World, folder: Path, user: str, *topics: str, **more: Any) -> Path:
    """Of a page whose user may read these topics."""
    secured.add_reader(user, PASSWORD, *topics, **more)
    login = SCRAM | {"sasl.username": user, "sasl.password": PASSWORD}
    path = configure(folder / "page.toml", secured, "sasl", login)
    prefix = f"{world.topic}.a"
    text = path.read_text().replace("guarded.in", world.topic).replace('"guarded"', f'"{prefix}"')
    path.write_text(f'{text}horizon = 6\n[streams.tides.outputs]\nprefix = "{prefix}"\n[api]\nport = 0\n')
    return path


@pytest.mark.parametrize("lacking", [None, "forecasts"])
def test_a_user_of_its_own_with_read_on_what_is_shown(
    secured: SecuredServers, tmp_path: Path, lacking: str | None
) -> None:
    world = World(secured.kafka.address, "", f"in-{uuid.uuid4().hex[:8]}", 1, tmp_path)
    world.create(world.topic)
    world.deployment("a")
    prefix, user = f"{world.topic}.a", f"page-{uuid.uuid4().hex[:8]}"
    topics = {world.topic, *(f"{prefix}.{kind}" for kind in SHOWN)} - {f"{prefix}.{lacking}"}
    world.send(readings([[1.5]]))
    origin = START_MS // STEP_MS
    producer = Producer({"bootstrap.servers": secured.kafka.address})
    key, value = forecast("s0", origin, [[1.0] * 6] * 9)
    producer.produce(f"{prefix}.forecasts", value, key)
    assert producer.flush(30) == 0
    path = configured(secured, world, tmp_path, user, *topics)
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


def test_the_doctor_says_what_the_user_of_the_page_lacks(secured: SecuredServers, tmp_path: Path) -> None:
    world = World(secured.kafka.address, "", f"in-{uuid.uuid4().hex[:8]}", 1, tmp_path)
    world.create(world.topic)
    world.deployment("a")
    group, user = f"{world.topic}.a", f"page-{uuid.uuid4().hex[:8]}"
    shown = [f"{group}.{kind}" for kind in SHOWN]
    path = configured(secured, world, tmp_path, user, world.topic, *shown[1:])

    def found() -> dict[str, tuple[str, str]]:
        told = examine(Settings.load(path, {}), program="page")
        assert {each.look for each in told} == {"kafka", "rights", "model"}  # it speaks to nobody else
        return {each.about: (each.severity.name, each.found + each.remedy) for each in told if each.look == "rights"}

    fine = {world.topic: ("OK", "Read on this topic")} | dict.fromkeys(shown, ("OK", "Read on this topic"))
    wait_until(lambda: found().items() >= {each: fine[each] for each in shown[1:]}.items(), 30, "what was granted")
    severity, said = found()[shown[0]]
    assert (severity, f"give it Read on the topic {shown[0]}" in said) == ("ERROR", True)
    severity, said = found()[group]
    assert (severity, f"give it Describe on the group {group}" in said) == ("WARNING", True)
    assert "gives way to nobody" in said
    secured.add_reader(user, PASSWORD, shown[0], group=group)
    fine[group] = ("OK", "Describe on this group")
    wait_until(lambda: found() == fine, 30, "no right that is missing")
