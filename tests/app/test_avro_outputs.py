"""What is published in Avro says what JSON says, and Confluent's own deserializer reads it."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from model_core.outcomes import DriftRecord, Scored, Summaries
from model_core.quantiles import central_intervals
from stream_app.cli import main
from stream_app.schemas.avro_schemas import SCHEMAS
from stream_app.wire import messages
from stream_app.wire.avro_messages import AvroMessages, long
from stream_app.wire.published import as_json
from stream_app.wire.writer import Issuer
from tests.app import test_messages as by_hand
from tests.app.registry_server import RegistryServer
from tests.app.running_worker import World, readings, wait_until

AVRO = AvroMessages({"forecasts": 1, "accuracy": 2, "drift": 3})


def same(output: str, avro: list[tuple[bytes, bytes]], plain: list[tuple[bytes, bytes]]) -> None:
    assert [key for key, _ in avro] == [key for key, _ in plain]
    for (_, framed), (_, text) in zip(avro, plain, strict=True):
        assert framed[0] == 0
        stream = BytesIO(framed)
        stream.seek(5)
        fastavro.schemaless_reader(stream, fastavro.parse_schema(SCHEMAS[output]), None)
        assert stream.tell() == len(framed), "nothing is left after the value"
        close(json.loads(as_json(output, framed) or b""), json.loads(text))


def close(found: Any, expected: Any) -> None:
    """The same, float32 for float32: JSON has its shortest text."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            close(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for left, right in zip(found, expected, strict=True):
            close(left, right)
    elif isinstance(expected, float):
        assert found == expected or np.float32(found) == np.float32(expected)
    else:
        assert found == expected


@pytest.mark.parametrize("demand", [False, True])
def test_forecasts_say_in_avro_what_they_say_in_json(rng: np.random.Generator, demand: bool) -> None:
    of = by_hand.spec()
    made = by_hand.forecasts(rng, of, count=40, demand=demand)
    issuer = Issuer("ridge", "7", issued_at="2026-03-01T10:00:00.123Z")
    partitions = np.arange(40) % 3
    same(
        "forecasts",
        AVRO.encode_forecasts(of, "pumps", partitions, made, issuer),
        list(messages.encode_forecasts(of, "pumps", partitions, made, issuer)),
    )


def test_accuracy_and_drift_say_in_avro_what_they_say_in_json(rng: np.random.Generator) -> None:
    of = by_hand.spec()
    count, horizons, intervals = 5, len(of.scored_horizons), len(central_intervals(of.quantile_levels))
    running = {"mase": rng.random(count), "coverage": rng.random((count, intervals)), "skill": rng.random(count)}
    running["skill"][1] = np.nan
    actual = rng.random((count, horizons))
    actual[2] = np.nan
    ids, offsets = [f"s{each}" for each in range(count)], np.arange(count)
    scored = Scored(
        series_ids=ids,
        origins=offsets + 100,
        actual=actual,
        error=actual - 1,
        pinball=actual / 2,
        baselines=rng.random((count, horizons, 2)),
        covered=rng.random((count, horizons, intervals)) > 0.5,
        offsets=offsets,
        **running,
    )
    same(
        "accuracy",
        AVRO.encode_accuracy(of, "pumps", 1, scored),
        list(messages.encode_accuracy(of, "pumps", 1, scored)),
    )
    summaries = Summaries(
        series_ids=ids, ticks=offsets + 7, pinball=rng.random(count), scored=offsets * 3, offsets=offsets, **running
    )
    same(
        "accuracy", AVRO.encode_summaries(of, "p", 1, summaries), list(messages.encode_summaries(of, "p", 1, summaries))
    )
    drift = [
        DriftRecord("s", None, "cusum", 1.5, 9.0, "drift", 100, 101, 7),
        DriftRecord(None, "p[0]", "pit", float("nan"), 9.0, "ok", 100, 101, -1),
    ]
    same("drift", AVRO.encode_drift(of, "pumps", 2, drift), list(messages.encode_drift(of, "pumps", 2, drift)))


def test_numbers_of_variable_length_are_as_avro_has_them(rng: np.random.Generator) -> None:
    for number in [0, -1, 1, 63, 64, -64, -65, 2**31, -(2**31), 2**62, -(2**62), *rng.integers(-(2**40), 2**40, 50)]:
        out = BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema("long"), int(number))
        assert long(int(number)) == out.getvalue()


@pytest.mark.timeout(300)
def test_a_worker_publishes_avro_that_confluents_client_reads(
    world: World, schema_registry: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    config = world.deployment("a")
    text = config.read_text().replace("[redis]", f'[schema_registry]\nurl = "{schema_registry.url}"\n[redis]')
    config.write_text(text + 'format = "avro"\n')
    worker = world.start(config)
    said = worker.wait_for("waiting")["reason"]
    assert f"Expected the schema of forecasts under the subject {world.topic}.a.forecasts-value" in said
    client = SchemaRegistryClient({"url": schema_registry.url})
    assert f"{world.topic}.a.forecasts-value" not in client.get_subjects(), "a worker registers nothing"
    with pytest.raises(SystemExit) as ended:
        main(["schema", "--register", "-c", str(config)])
    assert ended.value.code == 0
    assert f"is that of {world.topic}.a.forecasts-value" in capsys.readouterr().out
    world.send(readings([[float(tick)] for tick in range(10)]))
    worker.wait_for("assigned")
    read = AvroDeserializer(client)
    found: dict[str, list[dict[str, Any]]] = {}

    def forecasts() -> bool:
        for output in ("forecasts", "accuracy"):
            context = SerializationContext(f"{world.topic}.a.{output}", MessageField.VALUE)
            found[output] = [read(each.value(), context) for each in world.published("a", output)]
        return len(found["forecasts"]) >= 10 and len(found["accuracy"]) >= 1

    wait_until(forecasts, 40, "forecasts and accuracy in Avro")
    assert [each["input"]["offset"] for each in found["forecasts"]] == list(range(10))
    newest = found["forecasts"][-1]
    assert (newest["stream"], newest["series_id"], newest["horizon"]) == ("tides", "s0", 6)
    assert newest["point"] == newest["quantiles"][newest["quantile_levels"].index(0.5)]
    assert newest["issued_at"].tzinfo is not None
    assert {each["kind"] for each in found["accuracy"]} <= {"record", "summary"}
    assert worker.stop() == 0


FIELDS = SCHEMAS["forecasts"]["fields"]
OLDER = {
    "lacks a field that may be null": [each for each in FIELDS if each["name"] != "mean"],
    "has another type for one": [each | ({"type": "string"} if each["name"] == "horizon" else {}) for each in FIELDS],
}


@pytest.mark.services
@pytest.mark.parametrize(("older", "fits"), list(zip(OLDER, (True, False), strict=True)))
def test_a_schema_follows_an_older_one_if_the_registry_holds_them_for_compatible(
    schema_registry: RegistryServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rng: np.random.Generator,
    older: str,
    fits: bool,
) -> None:
    prefix = f"evolving-{fits}"
    config = tmp_path / "tidecast.toml"
    config.write_text(
        f'[schema_registry]\nurl = "{schema_registry.url}"\n[streams.tides]\ntopic = "tides"\nfreq = "10min"\n'
        f'[streams.tides.outputs]\nprefix = "{prefix}"\nformat = "avro"\n'
    )
    client, subject = SchemaRegistryClient({"url": schema_registry.url}), f"{prefix}.forecasts-value"
    before = SCHEMAS["forecasts"] | {"fields": OLDER[older]}
    client.register_schema(subject, Schema(json.dumps(before), "AVRO"))
    client.set_compatibility(subject, "BACKWARD")
    with pytest.raises(SystemExit) as ended:
        main(["schema", "--register", "-c", str(config)])
    if not fits:
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert f"The registry at {schema_registry.url} refused a schema" in said
        assert client.get_versions(subject) == [1]
        return
    assert ended.value.code == 0
    assert client.get_versions(subject) == [1, 2]
    of = by_hand.spec()
    made = by_hand.forecasts(rng, of, count=3, demand=True)
    issuer = Issuer("ridge", "7", issued_at="2026-03-01T10:00:00.123Z")
    for _, framed in AVRO.encode_forecasts(of, "pumps", np.arange(3), made, issuer):
        read = fastavro.schemaless_reader(BytesIO(framed[5:]), SCHEMAS["forecasts"], before)
        assert isinstance(read, dict)
        assert read.keys() == {each["name"] for each in before["fields"]}, "who has the older one reads on"
