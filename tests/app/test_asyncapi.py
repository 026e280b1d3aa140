"""The AsyncAPI document is one, says what is really published, and the example consumer reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from confluent_kafka import Producer

from stream_app.schemas.asyncapi import document
from stream_app.schemas.message_schemas import MESSAGES
from stream_app.settings import Settings
from tests.app.running_worker import World, readings, wait_until

REPOSITORY = Path(__file__).parents[2]
# The meta schema of AsyncAPI 3.0.0 without $id, as the npm package @asyncapi/specs 6.11.1 ships it (Apache-2.0).
META = json.loads((REPOSITORY / "tests/golden/asyncapi-3.0.0.json").read_text())


def described(**stream: Any) -> dict[str, Any]:
    one = {"topic": "pumps", "freq": "10min"} | stream
    return document(Settings(streams={"pumps": one, "other": {"topic": "others", "freq": "1h"}}))


@pytest.mark.parametrize(
    "stream",
    [
        {},
        {"format": "senml"},
        {"format": "avro", "outputs": {"format": "avro"}},
        {"fields": {"value": "data.v"}, "outputs": {"forecasts": "Elsewhere_1"}},
    ],
)
def test_it_is_an_asyncapi_document(stream: dict[str, Any]) -> None:
    made = described(**stream)
    jsonschema.Draft7Validator(META).validate(made)
    assert set(made["channels"]) >= {f"pumps.{output}" for output in (*MESSAGES, "readings", "dead_letters")}
    addresses = [channel["address"] for channel in made["channels"].values()]
    assert len(addresses) == len(set(addresses))
    assert unresolved(made, made) == []


def test_the_meta_schema_refuses_what_is_none() -> None:
    broken = described()
    broken["operations"]["pumps.forecasts"]["action"] = "publish"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(META).validate(broken)


def unresolved(part: Any, whole: dict[str, Any]) -> list[str]:
    """References that lead nowhere."""
    if isinstance(part, list):
        return [found for each in part for found in unresolved(each, whole)]
    if not isinstance(part, dict):
        return []
    if isinstance(reference := part.get("$ref"), str):
        at: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            at = at.get(step) if isinstance(at, dict) else None
        return [] if at is not None else [reference]
    return unresolved(list(part.values()), whole)


@pytest.mark.timeout(300)
def test_it_says_what_is_published_and_the_example_consumer_reads_it(world: World) -> None:
    config = world.deployment("a")
    worker = world.start(config)
    world.send([*readings([[float(tick)] for tick in range(12)]), ("s0", b"{")])
    world.wait_for_forecasts("a", 12)
    made = document(Settings.load(config))
    for output in ("forecasts", "accuracy"):
        channel = made["channels"][f"tides.{output}"]
        schema = {"$ref": f"#/components/schemas/{output}", "components": made["components"]}
        found = wait_until(lambda name=output: world.published("a", name), 30, output)
        assert {message.topic() for message in found} == {channel["address"]}
        for message in found:
            jsonschema.Draft202012Validator(schema).validate(json.loads(message.value()))

    aborted = Producer({"bootstrap.servers": world.bootstrap, "transactional.id": world.topic})
    aborted.init_transactions(30)
    aborted.begin_transaction()
    aborted.produce(f"{world.topic}.a.forecasts", b"{}", b"never")
    aborted.flush(30)
    aborted.abort_transaction(30)
    for count in (5, 7):  # the second goes on where the first ended
        lines = consumed(world, count)
        assert len(lines) == count
        assert all(line.startswith("s0 after 2026-02-02T") and "80% between" in line for line in lines)
    assert worker.stop() == 0


def consumed(world: World, count: int) -> list[str]:
    done = subprocess.run(
        [
            sys.executable,
            str(REPOSITORY / "examples/consume_forecasts.py"),
            *("--bootstrap", world.bootstrap, "--topic", f"{world.topic}.a.forecasts"),
            *("--group", world.topic, "--count", str(count)),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout.splitlines()
