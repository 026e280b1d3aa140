"""Whatever bytes come in: each message that cannot be used is kept with its reason, and nothing falls over."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.app.polls import NOW_MS
from tests.app.running_worker import START_MS, STEP_MS, World, readings, wait_until
from tests.app.saved_states import saved_state
from tests.chaos.poison import assert_accounted, good, poisons, reading_text

MIB = 1 << 20


# --- the decoder ------------------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
FIELDS = st.sampled_from(["series_id", "timestamp", "value", "values", "entity", "tags", ""])
DOCUMENTS = st.recursive(
    SCALARS | st.just(NOW_MS), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=5)
)


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """A document of ours with some bytes overwritten, left out or doubled."""
    text = bytearray(json.dumps(draw(DOCUMENTS)).encode())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2) | st.sampled_from([b"}\n{", b"NaN", b'"']))
    return bytes(text)


VALUES = st.binary(max_size=64) | mutilated() | st.none() | st.sampled_from([value for value, _ in poisons(NOW_MS)[:9]])
KEYS = st.none() | st.just(b"k") | st.binary(max_size=6)


@given(polled=st.lists(st.tuples(VALUES, KEYS), min_size=1, max_size=12))
@example(polled=[(value, b"k") for value, _ in poisons(NOW_MS)])
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_each_message_is_a_reading_a_deletion_or_a_dead_letter(polled: list[tuple[bytes | None, bytes | None]]) -> None:
    values, keys = zip(*polled, strict=True)
    assert_accounted(values, keys)


@pytest.mark.soak
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python")
def test_a_coverage_guided_fuzzer_finds_no_message_that_is_unaccounted_for(tmp_path: Path, seed: int) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    small = [value for value, _ in poisons(NOW_MS) if len(value) < 4096]
    for number, value in enumerate([*small, reading_text("a", NOW_MS, "1"), b'[{"value":1}]', b'{"values":{"a":1}}']):
        (corpus / str(number)).write_bytes(value)
    limits = ["-max_total_time=120", "-max_len=4096", f"-seed={seed % 2**31 + 1}", f"-artifact_prefix={tmp_path}/"]
    command = [sys.executable, "-m", "tests.chaos.fuzz_decoder", str(corpus), *limits]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    print(done.stderr.splitlines()[-1])


# --- through a worker -------------------------------------------------------------------------------------------------


@pytest.fixture
def partitions() -> int:
    """So that keys are needed."""
    return 2


@pytest.fixture
def topic_config() -> dict[str, str]:
    return {"max.message.bytes": str(16 * MIB)}


def produce(world: World, records: list[dict[str, Any]]) -> list[Any]:
    """The messages as the broker has them, in the order given."""
    sent: list[Any] = []
    own = {"partitioner": "murmur2_random", "message.max.bytes": 16 * MIB, "linger.ms": 1}
    producer = Producer({"bootstrap.servers": world.bootstrap} | own)

    def keep(error: Any, message: Any) -> None:
        assert error is None, error
        sent.append(message)

    for record in records:
        producer.produce(world.topic, on_delivery=keep, **record)
        producer.flush(30)
    assert len(sent) == len(records)
    return sent


def text_headers(letter: Any) -> dict[str, str]:
    head = "tidecast.error."
    return {name.removeprefix(head): value.decode() for name, value in letter.headers() if name.startswith(head)}


@pytest.mark.timeout(300)
def test_poison_ends_in_dead_letters_as_it_came_with_reason_and_place(world: World, rng: np.random.Generator) -> None:
    worker = world.start(world.deployment("a", stream="dead_letter_limit = 1.0"))
    at, own = START_MS + STEP_MS, [("trace", b"\xff\x00"), ("empty", b""), ("none", None), ("ü", b"1")]
    wanted = [({"key": b"s0", "value": value, "headers": own}, reason) for value, reason in poisons(at)]
    wanted += [({"key": b"s0", "value": b"\xff" + rng.bytes(99), "headers": own}, "malformed") for _ in range(100)]
    wanted += [
        ({"key": None, "value": good("s0", at, 1).encode()}, "unkeyed"),
        ({"key": None, "value": None}, "unkeyed"),
    ]
    wanted += [({"key": b"\xff", "value": None, "headers": own}, "malformed")]
    world.send(readings([[1.0, 2.0]]))
    sent = produce(world, [record for record, _ in wanted])
    world.send(readings([[2.0, 3.0]], first=3))
    wait_until(lambda: len(world.forecasts("a")) >= 4, 90, "forecasts after the poison")
    letters = wait_until(lambda: len(f := world.published("a", "dead-letters")) >= len(wanted) and f, 30, "letters")
    assert len(letters) == len(wanted)
    by_place = {(h["partition"], h["offset"]): (h, each) for each in letters for h in [text_headers(each)]}
    for (record, reason), message in zip(wanted, sent, strict=True):
        headers, letter = by_place[str(message.partition()), str(message.offset())]
        assert headers["reason"] == reason, headers
        assert letter.key() == record["key"]
        assert letter.timestamp()[1] == message.timestamp()[1]
        kept = [(name, value) for name, value in letter.headers() or () if not name.startswith("tidecast.error.")]
        assert kept == record.get("headers", [])
        if record["value"] is None or len(record["value"]) <= 65_536:
            assert letter.value() == record["value"]
        else:
            assert letter.value() == record["value"][:65_536]
            assert "sha256" in headers
    assert worker.stop() == 0


@pytest.mark.timeout(300)
def test_a_message_whose_key_or_headers_alone_fill_a_record_is_kept_cut(world: World) -> None:
    # As large as a default broker takes: with what is added, a dead letter of it would be larger than that.
    worker = world.start(world.deployment("a", stream="dead_letter_limit = 1.0"))
    fat = [("fat", b"x" * 1_040_000)]
    sent = produce(world, [{"key": b"k" * 1_040_000, "value": b"{"}, {"key": b"s0", "value": b"{", "headers": fat}])
    world.send(readings([[1.0, 2.0]]))
    wait_until(lambda: len(world.forecasts("a")) >= 2, 60, f"forecasts; {worker.log_path.read_text()[-2000:]}")
    letters = wait_until(lambda: len(f := world.published("a", "dead-letters")) >= 2 and f, 30, "letters")
    assert len(letters) == len(sent)
    cut = {each.key()[:2]: text_headers(each) for each in letters}
    assert {headers["reason"] for headers in cut.values()} == {"malformed"}
    assert cut[b"kk"]["key_sha256"] == hashlib.sha256(b"k" * 1_040_000).hexdigest()
    assert cut[b"s0"]["headers_left_out"] == "1"
    assert worker.stop() == 0


@pytest.mark.timeout(300)
def test_the_largest_number_neither_breaks_a_forecast_nor_the_series_beside_it(world: World) -> None:
    worker = world.start(world.deployment("a"))
    for tick, value in enumerate([1e308, -1e308, 1.7e308, 1.0, 2.0, 3.0]):
        world.send([("s0", good("s0", START_MS + tick * STEP_MS, value)), readings([[0, 5.0]], first=tick)[1]])
    found = wait_until(
        lambda: len(f := [m.value() for m in world.published("a", "forecasts")]) >= 12 and f, 60, "forecasts of both"
    )
    for body in found:
        forecast = json.loads(body, parse_constant=lambda word: pytest.fail(f"{word} in a forecast"))
        if forecast["series_id"] == "s1":
            assert forecast["point"] == [5.0] * 6
    assert worker.stop() == 0


@pytest.mark.timeout(300)
def test_a_tombstone_deletes_the_series_from_state_scores_and_outputs(world: World) -> None:
    config = world.deployment("a")
    worker = world.start(config)
    world.send(readings([[1.0, 2.0]] * 4))
    world.wait_for_forecasts("a", 8)
    (deletion,) = produce(world, [{"key": b"s0", "value": None}])
    world.send([pair for pair in readings([[1.0, 2.0]] * 8, first=4) if pair[0] == "s1"])
    world.wait_for_forecasts("a", 8 + 8)
    assert worker.stop() == 0
    names = [name for partition in (0, 1) for name in saved_state(world, config, partition).columns.index]
    assert names == ["s1"]
    for kind in ("forecasts", "accuracy"):
        of_it = [message.value() for message in world.published("a", kind) if message.key() == b"s0"]
        assert of_it[-1] is None, "the tombstone is the last that is said of it"
    assert deletion.value() is None


@pytest.mark.timeout(300)
def test_a_partition_of_nothing_but_poison_pauses_says_so_and_the_others_go_on(world: World) -> None:
    config = world.deployment("a", stream="dead_letter_limit = 0.5\ndead_letter_window = 20", instance="one")
    worker = world.start(config)
    world.send(readings([[1.0, 2.0, 3.0, 4.0]]))
    world.wait_for_forecasts("a", 4)
    (first, *_) = produce(world, [{"key": b"s0", "value": b"{"}] * 30)
    held = f"held tides[{first.partition()}]"
    reasons = wait_until(lambda: (r := worker.readyz()) and held in r[1] and r, 30, held)
    assert reasons[0] == 503
    assert "could not be used" in reasons[1][held]
    assert "then restart the worker" in reasons[1][held]
    world.send(readings([[1.0, 2.0, 3.0, 4.0]], first=1))
    lines = {f"s{n}": m.partition() for n, m in enumerate(produce(world, readings_of_tick(2)))}
    others = sum(2 for at in lines.values() if at != first.partition())
    wait_until(lambda: len(world.forecasts("a")) >= 4 + others, 30, "forecasts of the other partition")
    assert len(world.forecasts("a")) == 4 + others, "the held partition is not read"
    assert worker.stop() == 0
    world.start(config)
    world.wait_for_forecasts("a", 12)
    assert len(world.published("a", "dead-letters")) == 30


def readings_of_tick(tick: int) -> list[dict[str, Any]]:
    return [{"key": key.encode(), "value": value.encode()} for key, value in readings([[1.0, 2, 3, 4]], first=tick)]
