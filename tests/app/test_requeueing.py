"""Dead letters are listed, shown and sent back on a real broker, none of them twice."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from stream_app.cli import main
from stream_app.dead_letters import requeueing
from stream_app.dead_letters.log import Place, Requeued, ranges_of
from stream_app.dead_letters.record import encode_dead_letter
from stream_app.wire.decoded import DeadLetter, DeadLetterReason
from tests.app.polls import NOW_MS, message, spec

PARTITIONS = 3


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


class Stage:
    """An input topic, and a topic of dead letters as a worker would have written them."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.source, self.letters = f"{prefix}.in", f"{prefix}.dead-letters"
        self.prefix = prefix
        self.config = str(folder / "tidecast.toml")
        Path(self.config).write_text(
            f'application_id = "{prefix}"\n[kafka]\nbootstrap_servers = "{bootstrap}"\n'
            f'[streams.pumps]\ntopic = "{self.source}"\nfreq = "10min"\n[streams.pumps.outputs]\nprefix = "{prefix}"\n'
        )

    def put(self, *letters: DeadLetter, **changes: Any) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random"})
        stream = spec(topic=self.source, outputs={"prefix": self.prefix}, **changes)
        for letter in letters:
            record = encode_dead_letter(stream, "pumps", letter)
            producer.produce(
                record.topic, record.value, record.key, headers=list(record.headers), timestamp=record.timestamp_ms
            )
        assert producer.flush(30) == 0

    def letter(
        self, offset: int, reason: DeadLetterReason = "malformed", readings: list[str] | None = None, **more: Any
    ) -> Any:
        made = {"value": b"{", "key": b"pump-7", "partition": 2, "time_ms": NOW_MS + offset} | more
        value = made.pop("value")
        letter = DeadLetter.of(message(value, offset=offset, **made), reason, "no JSON", readings or [])
        return DeadLetter(**(letter.__dict__ | {"topic": self.source}))

    def back(self) -> list[Any]:
        """What is in the input topic, in the order of its offsets."""
        properties = {"bootstrap.servers": self.bootstrap, "group.id": "t", "enable.partition.eof": True}
        consumer = Consumer(properties | {"isolation.level": "read_committed"})
        consumer.assign([TopicPartition(self.source, each, OFFSET_BEGINNING) for each in range(PARTITIONS)])
        found, ended = [], 0
        while ended < PARTITIONS:
            for each in consumer.consume(1000, 0.2):
                if each.error() is None:
                    found.append(each)
                else:
                    assert each.error().code() == KafkaError._PARTITION_EOF
                    ended += 1
        consumer.close()
        return sorted(found, key=lambda each: (each.partition(), each.offset()))

    def listed(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
        assert run("dead-letters", "list", "-c", self.config, "--json", *arguments) == 0
        return dict(json.loads(capsys.readouterr().out))


@pytest.fixture
def stage(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path, create_topic: Callable[..., str]) -> Stage:
    create_topic("in", partitions=PARTITIONS)
    create_topic("dead-letters", partitions=2)
    return Stage(kafka_bootstrap, topic_prefix, tmp_path)


def test_a_message_goes_back_as_it_was_and_only_once(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.put(stage.letter(41, value=b'{"a":\xff', headers=[("trace", b"7")]), stage.letter(42, key=None, partition=0))
    assert run("dead-letters", "requeue", "--all", "--yes", "-c", stage.config) == 0
    assert "2 messages are back" in capsys.readouterr().out
    second, first = stage.back()
    assert (first.key(), first.value(), first.partition()) == (b"pump-7", b'{"a":\xff', 2)
    assert first.timestamp()[1] == NOW_MS + 41
    headers = dict(first.headers())
    assert headers.pop("tidecast.requeued").startswith(f"{stage.letters}[".encode())
    assert headers == {"trace": b"7"}
    assert (second.key(), second.partition()) == (None, 0)

    assert run("dead-letters", "requeue", "--all", "--yes", "-c", stage.config) == 0
    assert "2 stay: went back already (--again)" in capsys.readouterr().out
    assert len(stage.back()) == 2
    assert {each["requeued"] for each in stage.listed(capsys)["counts"]} == {1}
    assert run("dead-letters", "requeue", "--all", "--yes", "--again", "-c", stage.config) == 0
    assert len(stage.back()) == 4


def test_a_run_that_was_cut_off_sends_none_twice(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requeueing, "CHUNK_LETTERS", 10)
    stage.put(*(stage.letter(offset) for offset in range(25)))
    whole, calls = requeueing.Requeue._produce_back, []

    def cut_off(self: Any, producer: Any, kept: Any) -> None:
        calls.append(kept)
        if len(calls) == 15:
            raise KeyboardInterrupt
        whole(self, producer, kept)

    monkeypatch.setattr(requeueing.Requeue, "_produce_back", cut_off)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(["dead-letters", "requeue", "--all", "--yes", "-c", stage.config])
    monkeypatch.setattr(requeueing.Requeue, "_produce_back", whole)
    capsys.readouterr()
    assert run("dead-letters", "requeue", "--all", "--yes", "-c", stage.config) == 0
    assert "15 messages are back" in capsys.readouterr().out
    assert sorted(each.timestamp()[1] - NOW_MS for each in stage.back()) == list(range(25))


def test_what_must_not_go_back_stays_and_says_why(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    went_back = [("tidecast.requeued", b"x[0]@1")]
    stage.put(
        stage.letter(1, headers=went_back),
        stage.letter(2, "not_finite", ["pump-7.temp"]),
        DeadLetter(**(stage.letter(3).__dict__ | {"topic": "another"})),
        stage.letter(4, "not_finite"),
        stage.letter(4),  # the same message once more, for another reason
    )
    stage.put(stage.letter(5, "too_large", value=b"x" * 2000), dead_letter_bytes_max=1024)
    assert run("dead-letters", "requeue", "--all", "--dry-run", "-c", stage.config) == 0
    said = capsys.readouterr().out
    for why in requeueing.WHY.values():
        assert (f"1 stay: {why}" in said) is (why != requeueing.WHY["requeued"])
    assert "1 not_finite → " in said
    assert stage.back() == []

    assert run("dead-letters", "requeue", "--all", "--again", "--whole-packs", "--yes", "-c", stage.config) == 0
    assert [each.timestamp()[1] - NOW_MS for each in stage.back()] == [1, 2, 4]
    (marker, *more) = [text for name, text in stage.back()[0].headers() if name == "tidecast.requeued"]
    assert more == []
    assert marker.startswith(stage.letters.encode())


def test_only_what_is_meant_is_listed_and_sent(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.put(*(stage.letter(offset, key=b"k%d" % (offset % 2), partition=offset % 3) for offset in range(6)))
    stage.put(stage.letter(6, "unkeyed", key=None))
    everything = stage.listed(capsys)
    assert {(each["reason"], each["partition"]): each["dead_letters"] for each in everything["counts"]} == {
        ("malformed", 0): 2,
        ("malformed", 1): 2,
        ("malformed", 2): 2,
        ("unkeyed", 2): 1,
    }
    assert len(everything["newest"]) == 7
    for arguments, offsets in [
        (("--reason", "unkeyed"), {6}),
        (("--partition", "1"), {1, 4}),
        (("--key", "k1", "--limit", "2"), {3, 5}),
        (("--since", "2026-03-01T10:00:00.002Z", "--until", "2026-03-01T10:00:00.004Z"), {2, 3}),
    ]:
        assert {each["offset"] for each in stage.listed(capsys, *arguments)["newest"]} == offsets
    place = next(each["place"] for each in everything["newest"] if each["offset"] == 3)
    assert run("dead-letters", "requeue", place, "--yes", "-c", stage.config) == 0
    assert [each.timestamp()[1] - NOW_MS for each in stage.back()] == [3]


def test_one_is_shown_safely(stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stage.put(stage.letter(7, value=b"[bold]\x1b[2J", headers=[("h", b"\x07")]))
    (found,) = stage.listed(capsys)["newest"]
    saved = tmp_path / "value"
    assert run("dead-letters", "show", found["place"], "--save", str(saved), "-c", stage.config) == 0
    said = capsys.readouterr().out
    assert r"[bold]\x1b[2J" in said
    assert r"\x07" in said
    assert "\x1b[2J" not in said
    assert "pump-7" in said
    assert saved.read_bytes() == b"[bold]\x1b[2J"
    assert run("dead-letters", "show", "0:999", "-c", stage.config) == 2
    assert "There is no dead letter at 0:999" in capsys.readouterr().err


def test_without_a_yes_nothing_is_sent(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.put(stage.letter(1))
    for answer in ("n\n", ""):  # no; and nobody is there to answer
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert run("dead-letters", "requeue", "--all", "-c", stage.config) == 1
    assert run("dead-letters", "requeue", "-c", stage.config) == 2
    assert "Say which" in capsys.readouterr().err
    assert stage.back() == []


def test_ranges_say_which_went_back() -> None:
    assert ranges_of([1, 2, 3, 7, 9, 10]) == [(1, 4), (7, 8), (9, 11)]
    requeued = Requeued({0: [(9, 11), (1, 4), (3, 6)], 1: []})
    assert [offset for offset in range(12) if Place(0, offset) in requeued] == [1, 2, 3, 4, 5, 9, 10]
    assert Place(1, 1) not in requeued
    assert Place(2, 1) not in requeued
