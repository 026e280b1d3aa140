"""Avro and JSON Schema with a real schema registry: what is framed is read, what nobody can read is a dead letter."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from stream_app.schema_registry.client import RegistryAway, RegistrySchemas
from stream_app.settings import Settings
from stream_app.wire import DecodedPoll, ReplayVerdicts, decoder
from tests.app.polls import NOW_MS, poll, spec
from tests.app.registry_server import RegistryServer
from tests.app.running_worker import START_MS, STEP_MS, World, wait_until

AT = datetime.fromtimestamp(NOW_MS / 1000, UTC)


def record(name: str, *fields: dict[str, Any]) -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_} | more


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
READING = record("Reading", field("series_id", "string"), field("timestamp", MILLIS), field("value", "double"))


class Producers:
    """What Confluent's own serializer makes of values; a subject of its own for each test."""

    def __init__(self, url: str, topic: str) -> None:
        self.client = SchemaRegistryClient({"url": url})
        self.url, self.topic = url, topic

    def written(self, schema: str, *values: Any) -> list[bytes]:
        write = AvroSerializer(self.client, schema)
        return [write(value, SerializationContext(self.topic, MessageField.VALUE)) for value in values]

    def settings(self, **limits: Any) -> Settings:
        return Settings(schema_registry={"url": self.url}, limits=limits)

    def schemas(self, **limits: Any) -> RegistrySchemas:
        return RegistrySchemas(self.settings(**limits), None)

    def decoded(self, values: list[Any], replay: Any = None, **changes: Any) -> DecodedPoll:
        stream = spec(**({"format": "avro"} | changes))
        decode = decoder(stream, self.schemas())
        return decode(stream, poll(values), now_ms=NOW_MS, partition_count=1, replay=replay)


@pytest.fixture
def producers(schema_registry: RegistryServer, topic_prefix: str) -> Producers:
    return Producers(schema_registry.url, f"{topic_prefix}.in")


def rows(result: DecodedPoll) -> list[tuple[str, int, float]]:
    assert result.dead_letters == []
    readings = result.readings[0]
    return list(zip(readings.series_ids, readings.timestamps_ms.tolist(), readings.values.tolist(), strict=True))


def test_readings_packs_and_arrays_of_avro_are_read(producers: Producers) -> None:
    assert rows(producers.decoded(producers.written(READING, {"series_id": "a", "timestamp": AT, "value": 1.5}))) == [
        ("a", NOW_MS, 1.5)
    ]
    pack = record(
        "Pack",
        field("entity", "string"),
        field("timestamp", ["null", "long"]),
        field("values", {"type": "map", "values": ["null", "float", "int"]}),
    )
    values = [{"entity": "p", "timestamp": None, "values": {"a": 0.5, "b": None, "c": 3}}]
    values.append({"entity": "q", "timestamp": NOW_MS - 1, "values": {"a": 1}})
    assert rows(producers.decoded(producers.written(pack, *values))) == [
        ("p.a", NOW_MS, 0.5),
        ("p.c", NOW_MS, 3.0),
        ("q.a", NOW_MS - 1, 1.0),
    ]
    array = json.dumps({"type": "array", "items": json.loads(READING)})
    items = [{"series_id": name, "timestamp": AT, "value": 2.0} for name in "ab"]
    assert rows(producers.decoded(producers.written(array, items))) == [("a", NOW_MS, 2.0), ("b", NOW_MS, 2.0)]


def test_the_mapping_of_fields_finds_its_way_through_records(producers: Producers) -> None:
    money = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    inner = {"type": "record", "name": "Meta", "fields": [field("id", "string"), field("unit", ["null", "string"])]}
    schema = record("Sale", field("meta", inner), field("at", {"type": "long", "logicalType": "timestamp-micros"}))
    whole = json.loads(schema)
    whole["fields"].append(field("price", money))
    values = producers.written(
        json.dumps(whole), {"meta": {"id": "s", "unit": None}, "at": AT, "price": Decimal("9.75")}
    )
    mapping = {"series_id": "meta.id", "timestamp": "at", "value": "price"}
    assert rows(producers.decoded(values, fields=mapping)) == [("s", NOW_MS, 9.75)]


def test_what_cannot_be_read_says_why(producers: Producers) -> None:
    (good,) = producers.written(READING, {"series_id": "a", "timestamp": AT, "value": 1.5})
    (nameless,) = producers.written(record("Other", field("number", "double")), {"number": 1.0})
    (infinite,) = producers.written(READING, {"series_id": "a", "timestamp": AT, "value": float("inf")})
    unknown = b"\0" + (99_999_999).to_bytes(4, "big") + b"x"
    values = [good, b"{}", unknown, good[:-3], good + b"x", nameless, infinite, b"\0\0\0"]
    result = producers.decoded(values)
    found = {letter.offset: (letter.reason, letter.detail) for letter in result.dead_letters}
    assert {offset: reason for offset, (reason, _) in found.items()} == {
        1: "schema",
        2: "unknown_schema",
        3: "schema",
        4: "schema",
        5: "schema",
        6: "not_finite",
        7: "schema",
    }
    for offset, text in {
        1: "magic byte",
        2: "id 99999999",
        3: "no value of their schema",
        4: "1 bytes are left",
    }.items():
        assert text in found[offset][1]
    assert "expected value or values" in found[5][1]
    assert result.readings[0].series_ids == ["a"]
    assert result.malformed[0].tolist() == [False, *[True] * 7]
    assert [letter.value for letter in result.dead_letters] == values[1:]


def test_a_replay_follows_what_nobody_knew_then(producers: Producers) -> None:
    (good,) = producers.written(READING, {"series_id": "a", "timestamp": AT, "value": 1.5})
    unknown = b"\0" + (99_999_998).to_bytes(4, "big")
    assert producers.decoded([good, unknown]).clock_rejections == {0: [(1, -1)]}
    then = {0: ReplayVerdicts(until_offset=2, rejected=frozenset({(1, -1)}))}
    replayed = producers.decoded([good, good, good], replay=then)
    assert replayed.readings[0].offsets.tolist() == [0, 2]
    assert [(letter.reason, letter.offset) for letter in replayed.dead_letters] == [("unknown_schema", 1)]
    assert replayed.clock_rejections == {}


def test_older_and_newer_writers_are_read_alike_through_a_readers_schema(producers: Producers, tmp_path: Path) -> None:
    old = record("Reading", field("series_id", "string"), field("v", "double"))
    new = record(
        "Reading", field("series_id", "string"), field("value", "float"), field("extra", "string", default="none")
    )
    values = producers.written(old, {"series_id": "a", "v": 1.5})
    values += Producers(producers.url, f"{producers.topic}.new").written(new, {"series_id": "a", "value": 2.5})
    values += producers.written(old, {"series_id": "b", "v": 3.5})
    reader = record(
        "Reading",
        field("series_id", "string"),
        field("value", "double", aliases=["v"]),
        field("timestamp", "long", default=NOW_MS - 5),
    )
    path = tmp_path / "reading.avsc"
    path.write_text(reader)
    found = rows(producers.decoded(values, reader_schema=str(path)))
    assert found == [("a", NOW_MS - 5, 1.5), ("a", NOW_MS - 5, 2.5), ("b", NOW_MS - 5, 3.5)]
    assert [letter.offset for letter in producers.decoded(values).dead_letters] == [0, 2], "without it, v is no value"


def test_json_schema_is_json_behind_a_frame(producers: Producers) -> None:
    body = {"type": "object", "properties": {"value": {"type": "number"}}}
    schema_id = producers.client.register_schema(f"{producers.topic}-value", Schema(json.dumps(body), "JSON"))
    frame = b"\0" + schema_id.to_bytes(4, "big")
    (avro,) = producers.written(READING, {"series_id": "a", "timestamp": AT, "value": 1.5})
    reading = json.dumps({"series_id": "a", "timestamp": NOW_MS, "value": 1.5}).encode()
    values = [frame + reading, frame + b'{"values":{"b":2}}', frame + b"null", frame + b"{", avro, reading]
    result = producers.decoded(values, format="json_schema")
    assert result.readings[0].series_ids == ["a", "b"]
    assert result.readings[0].deletions == ((2, "pump-7"),)
    assert [(letter.offset, letter.reason) for letter in result.dead_letters] == [
        (3, "schema"),
        (4, "schema"),
        (5, "schema"),
    ]
    assert rows(producers.decoded([frame + reading] * 50, format="json_schema")) == [("a", NOW_MS, 1.5)] * 50


def test_schemas_are_kept_within_a_bound(producers: Producers) -> None:
    ids = []
    for number in range(4):
        (value,) = Producers(producers.url, f"{producers.topic}.{number}").written(
            record(f"R{number}", field("value", "double")), {"value": 1.0}
        )
        ids.append(int.from_bytes(value[1:5], "big"))
    schemas = producers.schemas(schemas_max=2)
    asked: list[int] = []
    whole = schemas._registry.schema
    schemas._registry.schema = lambda schema_id: asked.append(schema_id) or whole(schema_id)  # type: ignore[method-assign]
    for schema_id in (ids[0], ids[0], ids[1], ids[0], ids[2], ids[0], ids[1], ids[3]):
        assert schemas.get(schema_id) is not None
    assert asked == [ids[0], ids[1], ids[2], ids[1], ids[3]]
    assert len(schemas._known) == 2


def test_a_command_says_at_once_that_no_registry_answers() -> None:
    schemas = RegistrySchemas(Settings(schema_registry={"url": "http://127.0.0.1:1"}), None)
    with pytest.raises(RegistryAway, match=r"Expected the schema registry at http://127\.0\.0\.1:1"):
        schemas.get(1)


@pytest.mark.timeout(300)
def test_a_worker_waits_for_a_registry_that_is_away_and_says_so(
    world: World, schema_registry: RegistryServer, producers: Producers
) -> None:
    values = producers.written(
        READING,
        *(
            {
                "series_id": "s0",
                "timestamp": datetime.fromtimestamp((START_MS + tick * STEP_MS) / 1000, UTC),
                "value": 1.0,
            }
            for tick in range(4)
        ),
    )
    config = world.deployment("a", stream='format = "avro"')
    text = config.read_text().replace("[redis]", f'[schema_registry]\nurl = "{schema_registry.url}"\n[redis]')
    config.write_text(text)
    worker = world.start(config)
    worker.wait_for("assigned")
    schema_registry.pause()
    try:
        world.send([("s0", value) for value in values[:2]])
        said = worker.wait_for("waiting for a schema")
        assert "Expected the schema registry at" in said["reason"]
        status, reasons = worker.readyz()
        assert status == 503
        assert "schema registry" in reasons
    finally:
        schema_registry.resume()
    world.wait_for_forecasts("a", 2)
    assert worker.readyz()[0] == 200
    world.send([("s0", b"\0" + (77_777_777).to_bytes(4, "big")), ("s0", b"no frame"), ("s0", values[2])])
    world.wait_for_forecasts("a", 3)
    letters = wait_until(lambda: len(found := world.published("a", "dead-letters")) == 2 and found, 20, "dead letters")
    assert [dict(each.headers())["tidecast.error.reason"] for each in letters] == [b"unknown_schema", b"schema"]
    assert worker.stop() == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("format_", ["avro", "json_schema"])
def test_a_worker_that_begins_without_its_registry_waits_and_says_why(
    world: World, schema_registry: RegistryServer, format_: str
) -> None:
    config = world.deployment("a", stream=f'format = "{format_}"', limits='registry_timeout = "1s"')
    text = config.read_text().replace("[redis]", f'[schema_registry]\nurl = "{schema_registry.url}"\n[redis]')
    config.write_text(text)
    schema_registry.pause()
    try:
        worker = world.start(config)
        said = worker.wait_for("waiting")["reason"]
        assert f"Expected the schema registry at {schema_registry.url}" in said
        status, reasons = worker.readyz()
        assert (status, reasons["start"]) == (503, said)
    finally:
        schema_registry.resume()
    worker.wait_for("assigned")
    wait_until(lambda: worker.readyz()[0] == 200, 40, "a ready worker")
    assert worker.stop() == 0


@pytest.mark.timeout(120)
def test_a_registry_where_nobody_is_ends_the_start_at_its_deadline(world: World) -> None:
    config = world.deployment("a", stream='format = "avro"', limits='start_deadline = "1s"')
    config.write_text(config.read_text().replace("[redis]", '[schema_registry]\nurl = "http://127.0.0.1:1"\n[redis]'))
    worker = world.start(config)
    assert worker.process.wait(40) == 1
    error = worker.wait_for("worker ends")["error"]
    assert "http://127.0.0.1:1 (schema_registry.url)" in error
    assert "limits.start_deadline" in error
    assert "Traceback" not in worker.log_path.read_text()
