"""`tidecast train`: the same history from a topic and from a file, what it publishes, and how it fails."""

import html
import json
import re

import numpy as np
import pytest
import structlog
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from stream_app.cli.command_line import build_app
from stream_app.errors import TidecastError
from stream_app.kafka import topic_history
from stream_app.models.registry import ModelRegistry
from stream_app.settings import Settings
from stream_app.tables import TableFile
from stream_app.training import followed_history, train_job
from stream_app.training.followed_history import FollowedHistory
from tests.app.running_worker import wait_until

TICKS, SERIES, FIRST_MS = 700, ("oven.temp", "oven.load"), 1_767_225_600_000
STEP_MS = 3_600_000


def waves(rng, ticks: int = TICKS):
    hours = np.arange(ticks)[:, None]
    return (10 + 3 * np.sin(2 * np.pi * hours / 24 + np.array([0.0, 1.0])) + rng.normal(0, 0.3, (ticks, 2))).round(3)


def write_csv(path, cells):
    lines = ["time," + ",".join(SERIES)]
    lines += [f"{FIRST_MS + row * STEP_MS},{a},{b}" for row, (a, b) in enumerate(cells.tolist())]
    path.write_text("\n".join(lines))
    return TableFile(path)


def configured(tmp_path, topic: str = "ovens", bootstrap: str = "127.0.0.1:1", **stream) -> Settings:
    return Settings(
        application_id="trainer",
        device="cpu",
        kafka={"bootstrap_servers": bootstrap},
        models={"registry": str(tmp_path / "models")},
        streams={"ovens": {"topic": topic, "freq": "1h", "context_length": 48, "horizon": 6} | stream},
    )


def test_a_topic_and_a_file_give_the_same_history(tmp_path, rng, kafka_bootstrap, create_topic):
    cells = waves(rng, 120)
    topic = create_topic("ovens", partitions=2)
    send(kafka_bootstrap, topic, cells, 0)
    settings = configured(tmp_path, topic, kafka_bootstrap)
    shares: list[float] = []
    spec = settings.streams["ovens"]
    read = train_job.read_history(settings, spec, None, None, lambda _what, share: shares.append(share))
    file = write_csv(tmp_path / "ovens.csv", cells)
    same = train_job.read_history(settings, spec, file, None, lambda _what, _share: None)
    assert (read.readings, read.unusable) == (240, 1)
    assert (same.readings, same.unusable) == (240, 0)
    assert shares[-1] == 1.0
    for history in (read.history, same.history):
        order = [history.index[name] for name in SERIES]
        np.testing.assert_array_equal(history.values()[:, order], cells.astype(np.float32))
    assert read.history.first_tick == same.history.first_tick


def send(bootstrap: str, topic: str, cells, first: int) -> None:
    """Rows of the cells, the first of them `first` ticks after the beginning."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})  # tried again, in order still
    for row, values in enumerate(cells.tolist(), first):
        for name, value in zip(SERIES, values, strict=True):
            reading = {"series_id": name, "timestamp": FIRST_MS + row * STEP_MS, "value": value}
            producer.produce(topic, key=name, value=json.dumps(reading))
    producer.produce(topic, key="oven.temp", value=b"not JSON")
    assert producer.flush(30) == 0


def test_a_trainer_that_stays_reads_only_what_is_new_and_has_the_same_history(
    tmp_path, rng, kafka_bootstrap, create_topic, monkeypatch
):
    cells = waves(rng, 120)
    topic = create_topic("ovens", partitions=2)
    settings = configured(tmp_path, topic, kafka_bootstrap)
    followed = FollowedHistory(settings, "ovens")
    decoded: list[int] = []

    def counting(*of):
        for portion in topic_history.read_topic(*of):
            decoded.append(sum(map(len, portion.readings.values())))
            yield portion

    monkeypatch.setattr(followed_history, "read_topic", counting)
    for first, last in ((0, 70), (70, 110), (110, 110), (110, 120)):
        if last > first:
            send(kafka_bootstrap, topic, cells[first:last], first)
        decoded.clear()
        read = followed.read(lambda _what, _share: None)
        assert sum(decoded) == 2 * (last - first), "what was read before is not read again"
        assert read.readings == 2 * last
    assert read.unusable == 3
    whole = train_job.read_history(settings, settings.streams["ovens"], None, None, lambda _what, _share: None)
    settled = len(read.history)
    assert settled >= 118, "all but the ticks that are still open"
    for history in (read.history, whole.history):
        order = [history.index[name] for name in SERIES]
        np.testing.assert_array_equal(history.values()[:settled, order], cells[:settled].astype(np.float32))
    assert read.history.first_tick == whole.history.first_tick


def test_what_comes_while_a_topic_is_read_is_left_to_the_next_time(
    tmp_path, rng, kafka_bootstrap, create_topic, monkeypatch
):
    """It is handed out with the rest of its poll: the place at which the next reading begins must not be beyond it."""
    settings = configured(tmp_path, create_topic("ovens", partitions=2), kafka_bootstrap)
    spec, spans = settings.streams["ovens"], topic_history._spans
    send(kafka_bootstrap, spec.topic, waves(rng, 30), 0)

    def earlier(*of):
        places, ends = spans(*of)
        return places, {partition: max(places[partition], end - 7) for partition, end in ends.items()}

    monkeypatch.setattr(topic_history, "_spans", earlier)
    first = list(topic_history.read_topic(settings, spec))
    monkeypatch.setattr(topic_history, "_spans", spans)
    rest = list(topic_history.read_topic(settings, spec, first[-1].places))
    counts = [sum(len(each) for part in parts for each in part.readings.values()) for parts in (first, rest)]
    assert 0 < counts[0] < sum(counts) == 60


def kept(settings: Settings, decoded: list[int], monkeypatch) -> FollowedHistory:
    """A trainer that starts, and counts what it decodes."""

    def counting(*of):
        for portion in topic_history.read_topic(*of):
            decoded.append(sum(map(len, portion.readings.values())))
            yield portion

    monkeypatch.setattr(followed_history, "read_topic", counting)
    return FollowedHistory(settings, "ovens")


def forget(bootstrap: str, topic: str) -> None:
    """Retention takes all that is there by now."""
    partitions = [TopicPartition(topic, partition, OFFSET_END) for partition in range(2)]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.delete_records(partitions).values():
        done.result(30)


def test_a_trainer_goes_on_where_one_before_it_had_stopped(tmp_path, rng, kafka_bootstrap, create_topic, monkeypatch):
    """The log has forgotten by then what it had read; and when it has forgotten what nobody read, all begins anew."""
    cells = waves(rng, 2050)
    topic = create_topic("ovens", partitions=2)
    settings = configured(tmp_path, topic, kafka_bootstrap, training_recent="522h")
    decoded: list[int] = []
    send(kafka_bootstrap, topic, cells[:1950], 0)
    first = kept(settings, decoded, monkeypatch).read(lambda _what, _share: None)
    assert first.history.past is not None
    forget(kafka_bootstrap, topic)
    send(kafka_bootstrap, topic, cells[1950:2000], 1950)
    decoded.clear()
    again = kept(settings, decoded, monkeypatch).read(lambda _what, _share: None)
    assert (sum(decoded), again.readings, again.unusable) == (100, 4000, 2)
    assert again.history.past.first == first.history.past.first
    last = len(again.history) - (2000 - 1950) // 2
    order = [again.history.index[name] for name in SERIES]
    begun = again.history.first_tick - FIRST_MS // STEP_MS
    assert begun > 300, "cells that have become sums are gone"
    np.testing.assert_array_equal(again.history.values()[:last, order], cells[begun:][:last].astype(np.float32))
    send(kafka_bootstrap, topic, cells[2000:2020], 2000)
    forget(kafka_bootstrap, topic)
    send(kafka_bootstrap, topic, cells[2020:], 2020)
    with structlog.testing.capture_logs() as told:
        anew = kept(settings, decoded, monkeypatch).read(lambda _what, _share: None)
    assert (anew.readings, anew.history.past) == (60, None)
    (line,) = (line for line in told if line["event"] == "history begins anew")
    assert "are gone (retention)" in line["reason"]


def test_a_changed_configuration_begins_anew_and_a_topic_made_anew_too(tmp_path, rng, kafka_bootstrap, create_topic):
    settings = configured(tmp_path, create_topic("ovens"), kafka_bootstrap)
    topic = settings.streams["ovens"].topic
    send(kafka_bootstrap, topic, waves(rng, 30), 0)
    followed = FollowedHistory(settings, "ovens")
    assert followed.read(lambda _what, _share: None).readings == 60
    shorter = configured(tmp_path, topic, kafka_bootstrap, context_length=24)
    with structlog.testing.capture_logs() as told:
        assert FollowedHistory(shorter, "ovens").read(lambda _what, _share: None).readings == 60
    assert ["configuration" in line["reason"] for line in told if line["event"] == "history begins anew"] == [True]
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    for gone in admin.delete_topics([topic]).values():
        gone.result(30)
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, 30, "the topic to go")
    for made in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        made.result(30)
    send(kafka_bootstrap, topic, waves(rng, 45), 0)
    with structlog.testing.capture_logs() as told:
        assert FollowedHistory(shorter, "ovens").read(lambda _what, _share: None).readings == 90
    assert ["made anew" in line["reason"] for line in told if line["event"] == "history begins anew"] == [True]


def test_an_empty_or_unknown_topic_is_named(tmp_path, kafka_bootstrap, create_topic):
    for topic, text in ((create_topic("empty"), "is empty"), ("nobody-made-this", "no topic")):
        settings = configured(tmp_path, topic, kafka_bootstrap)
        with pytest.raises(TidecastError, match=text):
            train_job.run(settings, "ovens")


def test_a_better_model_takes_charge_and_the_rest_is_reported(tmp_path, rng):
    settings = configured(tmp_path)
    result = train_job.run(settings, "ovens", file=write_csv(tmp_path / "ovens.csv", waves(rng)))
    registry = ModelRegistry(settings.models.registry)
    assert result.promoted
    assert registry.champion("ovens") == result.version
    assert registry.load("ovens", result.version).manifest.misfit(settings.streams["ovens"]) is None
    assert registry.report("ovens", result.version)["scaled_pinball"]["candidate"] > 0


def test_until_hides_what_came_later(tmp_path, rng):
    settings = configured(tmp_path)
    file = write_csv(tmp_path / "ovens.csv", waves(rng))
    until = FIRST_MS + 400 * STEP_MS
    read = train_job.read_history(settings, settings.streams["ovens"], file, until, lambda _what, _share: None)
    assert len(read.history) == 400


def test_not_promoted_leaves_a_candidate(tmp_path, rng):
    settings = configured(tmp_path)
    file = write_csv(tmp_path / "ovens.csv", waves(rng))
    result = train_job.run(settings, "ovens", file=file, promote=False)
    registry = ModelRegistry(settings.models.registry)
    assert registry.champion("ovens") is None
    assert registry.alias("ovens", "candidate") == result.version


def test_a_champion_of_another_configuration_counts_as_none_and_is_mentioned(tmp_path, rng):
    file = write_csv(tmp_path / "ovens.csv", waves(rng))
    train_job.run(configured(tmp_path), "ovens", file=file)
    result = train_job.run(configured(tmp_path, horizon=4), "ovens", file=file)
    assert "horizon" in (result.note or "")
    assert result.promoted


def test_a_damaged_champion_counts_as_none_and_is_mentioned(tmp_path, rng):
    settings = configured(tmp_path)
    file = write_csv(tmp_path / "ovens.csv", waves(rng))
    first = train_job.run(settings, "ovens", file=file)
    folder = tmp_path / "models" / "ovens" / "versions" / first.version
    (folder / "model.safetensors").write_bytes(b"")
    result = train_job.run(settings, "ovens", file=file)
    assert "sha256" in (result.note or "")
    assert result.promoted


def test_nothing_usable_says_where_to_look(tmp_path, rng):
    file = write_csv(tmp_path / "ovens.csv", waves(rng))
    with pytest.raises(TidecastError, match="include"):
        train_job.run(configured(tmp_path, include=["pump*"]), "ovens", file=file)


def test_the_commands_tell_the_story(tmp_path, rng, monkeypatch):
    config = tmp_path / "tidecast.toml"
    config.write_text(
        f'[models]\nregistry = "{tmp_path / "models"}"\n'
        '[streams.ovens]\ntopic = "ovens"\nfreq = "1h"\ncontext_length = 48\nhorizon = 6\n'
    )
    file = write_csv(tmp_path / "ovens.csv", waves(rng))

    def tidecast(*words: str) -> str:
        result = CliRunner().invoke(build_app(words[0]), [*words, "--config", str(config)], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    assert "takes charge" in tidecast("train", "--file", str(file.path))
    report = json.loads(tidecast("train", "--file", str(file.path), "--json"))
    assert [check["name"] for check in report["checks"]][:2] == ["newest slice", "earlier slice"]
    assert report["gate"]["attempt"] == 1  # the first was against the naive forecasts, this one is against a model
    assert report["champion_learned"] == 1.0  # it was trained on the same file, slices and all
    assert {len(losses) for losses in report["series"].values()} == {4}
    listed = tidecast("models", "list")
    assert report["version"] in listed
    assert report["passed"] is False
    assert "rival's" in listed.splitlines()[1], "a table, not lists: it fits"
    row = next(line.split() for line in listed.splitlines() if line.startswith(report["version"]))
    losses = report["scaled_pinball"]
    assert row[1:] == ["candidate", "ridge", "2", f"{losses['candidate']:.4f}", f"{losses['champion']:.4f}", "refused"]
    assert "Compare a version with its rival alone" in listed
    assert json.loads(tidecast("models", "list", "--json"))[0]["problem"] is None
    page = tmp_path / "report.html"
    assert str(page) in tidecast("models", "report", report["version"], "--out", str(page)).replace("\n", "")
    assert_page_is_whole(page.read_text(), report)
    assert "of the champion" in page.read_text()
    tidecast("models", "promote", report["version"])
    (head,) = [line for line in tidecast("train", "--file", str(file.path)).splitlines() if "seasonal naive" in line]
    assert "champion" in head
    first = json.loads(tidecast("models", "show", "previous"))["manifest"]["version"]
    assert first in tidecast("models", "rollback")
    with pytest.raises(TidecastError, match="no model nonsense"):
        tidecast("models", "promote", "nonsense")


def assert_page_is_whole(page: str, report) -> None:
    """Every check, series and stress in it, plots for all of it, and nothing that is fetched from elsewhere."""
    frame = page.split("<script>")[0]
    for check in report["checks"]:
        assert f"<td class=left>{html.escape(check['said'])}</td>" in frame
    for name in (*SERIES, *(each["name"] for each in report["gate"]["stress"])):
        assert f"<td>{name}</td>" in frame
    figures = json.loads(page.rsplit("const figures = ", 1)[1].split(";\n", 1)[0])
    assert len(figures) == frame.count("<figure>") == 3 + len(report["gate"]["worst"])
    assert all(figure["data"] for figure in figures)
    assert not re.search(r"""(?:src|href)\s*=|url\(""", frame)
    assert "default-src 'none'" in frame
