"""Numbers, health and log lines for those who watch a worker run."""

import io
import json
import logging
import re
import threading
import warnings
from typing import Any

import aiohttp
import numpy as np
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from deploy.prometheus.alerts import ALERTS
from model_core.outcomes import DriftRecord, Forecasts, Observed, Outcome, Summaries
from stream_app.errors import TidecastError
from stream_app.observability.health import BLOCKING, Health, HealthServer, Readiness
from stream_app.observability.logs import configure_logs
from stream_app.observability.metric_table import TABLE
from stream_app.observability.metrics import Metrics
from stream_app.settings import Settings
from stream_app.wire.json import decode
from tests.app.polls import NOW_MS, poll, reading, spec


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_the_table_and_the_attributes_are_the_same() -> None:
    assert set(TABLE) == set(Metrics.__annotations__)
    for attribute, metric in TABLE.items():
        made = getattr(Metrics(), attribute)
        assert type(made).__name__.lower() == metric.kind


@pytest.mark.parametrize("metric", TABLE.values(), ids=lambda metric: metric.name)
def test_metrics_are_named_by_the_rules(metric: Any) -> None:
    assert metric.name.startswith("tidecast_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith(("_ms", "_milliseconds", "_kb", "_percent"))
    assert "series_id" not in metric.labels
    assert metric.help.endswith(".")


def test_two_workers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.models_refused.labels("pumps").inc()
    assert sample(other, "tidecast_models_refused_total", stream="pumps") is None


def test_what_an_alert_takes_the_increase_of_stands_at_zero_before_it_happens() -> None:
    """Prometheus sees no increase in a series that appears: a storm of a stream's first alarms would be no news."""
    metrics = Metrics()
    metrics.begin("pumps")
    asked = [expr for alert in ALERTS for expr in re.findall(r"(?:increase|rate)\((tidecast_\w+_total)", alert.expr)]
    there = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    assert {*asked} - there == {"tidecast_forecasts_total"}  # at any time there are some
    assert sample(metrics, "tidecast_drift_alarms_total", stream="pumps", detector="flatline") == 0
    assert sample(metrics, "tidecast_dead_letters_total", stream="pumps", reason="malformed") == 0


def test_a_decoded_poll_is_counted() -> None:
    metrics = Metrics()
    values = [reading("a"), reading("b"), b"{"]
    metrics.count_decoded("pumps", decode(spec(include=["a"]), poll(values), now_ms=NOW_MS, partition_count=1))
    assert sample(metrics, "tidecast_poll_batches_total", stream="pumps") == 1
    assert sample(metrics, "tidecast_poll_batch_messages_sum", stream="pumps") == 3
    assert sample(metrics, "tidecast_readings_total", stream="pumps", verdict="excluded") == 1


def test_cells_and_verdicts_are_counted() -> None:
    metrics = Metrics()
    counts = {"accepted": 5, "late": 1, "corrected": 0, "settled": 4, "missing": 1, "warming_up": 2}
    metrics.count_observed("pumps", Observed([], None, [], (), counts))
    assert sample(metrics, "tidecast_readings_total", stream="pumps", verdict="accepted") == 5
    assert sample(metrics, "tidecast_cells_total", stream="pumps", state="observed") == 3
    assert sample(metrics, "tidecast_cells_total", stream="pumps", state="missing") == 1
    assert sample(metrics, "tidecast_warming_up_total", stream="pumps") == 2


def outcome() -> Outcome:
    rungs, reasons = np.array([0, 0, 1], np.int8), np.array([0, 0, 3], np.int8)
    ones = np.ones(3)
    made = Forecasts(
        ["a", "b", "c"], np.arange(3), np.zeros((3, 9, 2), np.float32), None, rungs, reasons, np.array([0, 1, 0]),
        ones, np.arange(3),
    )  # fmt: skip
    summaries = Summaries(
        ["a", "b"], np.arange(2), ones[:2], np.array([[0.8, 0.6, 0.4, 0.2], [0.9, 0.7, np.nan, 0.2]]),
        np.array([1.0, 3.0]), np.array([np.nan, 0.25]), np.arange(2), np.arange(2),
    )  # fmt: skip
    alarm = DriftRecord("a", None, "cusum", 13.0, 12.7, "drift", 1, 2, 3)
    storm = DriftRecord(None, "partition-0", "storm", 0.2, 0.05, "drift", 2, 2, 3)
    return Outcome(made, None, summaries, [alarm, storm], deleted=((1, "z"),), alarms={"cusum": 3})


def test_outcomes_are_counted_by_rung_and_reason_and_shown_as_quality() -> None:
    metrics = Metrics()
    metrics.count_outcome("pumps", outcome(), spec())
    assert sample(metrics, "tidecast_forecasts_total", stream="pumps", rung="model", reason="ok") == 2
    labels = {"stream": "pumps", "rung": "seasonal_naive", "reason": "too_many_holes"}
    assert sample(metrics, "tidecast_forecasts_total", **labels) == 1
    assert sample(metrics, "tidecast_forecast_revisions_total", stream="pumps") == 1
    assert sample(metrics, "tidecast_coverage_ratio", stream="pumps", interval="0.8") == pytest.approx(0.85)
    assert sample(metrics, "tidecast_pinball", stream="pumps") == 2
    assert sample(metrics, "tidecast_skill_ratio", stream="pumps") == 0.25
    assert sample(metrics, "tidecast_drift_alarms_total", stream="pumps", detector="cusum") == 3
    assert sample(metrics, "tidecast_drift_storms_total", stream="pumps", detector="storm") == 1
    assert sample(metrics, "tidecast_series_deleted_total", stream="pumps") == 1


def test_the_age_of_a_model_is_that_of_its_version() -> None:
    metrics = Metrics()
    metrics.show_model("pumps", "ridge", "20260301T120000Z-4be1c2")
    assert sample(metrics, "tidecast_model_created_timestamp_seconds", stream="pumps") == 1_772_366_400
    metrics.show_model("pumps", None, None)
    assert sample(metrics, "tidecast_model_created_timestamp_seconds", stream="pumps") is None


def test_one_model_is_in_charge_at_a_time() -> None:
    metrics = Metrics()
    metrics.show_model("pumps", "ridge", "v1")
    metrics.show_model("pumps", "ridge", "v2")
    (family,) = [f for f in metrics.registry.collect() if f.name == "tidecast_model_info"]
    assert [one.labels["version"] for one in family.samples] == ["v2"]


def test_gauges_of_a_partition_that_went_disappear() -> None:
    metrics = Metrics()
    metrics.lag.labels("pumps", "3").set(7)
    metrics.forget_partition("pumps", 3)
    metrics.forget_partition("pumps", 4)
    assert sample(metrics, "tidecast_lag_messages", stream="pumps", partition="3") is None


# --- health -----------------------------------------------------------------------------------------------------------


def test_ready_when_every_reason_is_gone() -> None:
    readiness = Readiness()
    readiness.block("store", "no answer")
    readiness.block("store", "still no answer")
    assert readiness.reasons == {"store": "still no answer"}
    readiness.clear("store")
    readiness.clear("never set")
    assert readiness.is_ready


def test_reasons_may_be_set_from_any_thread() -> None:
    readiness = Readiness()

    def flicker(name: str) -> None:
        for _ in range(500):
            readiness.block(name, "…")
            _ = readiness.reasons
            readiness.clear(name)

    threads = [threading.Thread(target=flicker, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert readiness.is_ready


def test_a_worker_is_ready_once_it_started_and_has_partitions() -> None:
    health = Health(Settings(streams={"pumps": spec()}))
    health.waiting("no broker at 127.0.0.1:1", "kafka")
    assert health.readiness.reasons["start"] == "no broker at 127.0.0.1:1"
    health.waiting("Redis does not answer", "store")
    assert set(health.readiness.reasons) == {"start", "store", "assignment"}
    assert health.readiness.reasons["store"] == health.readiness.reasons["start"] == "Redis does not answer"
    health.started()
    assert list(health.readiness.reasons) == ["assignment"]
    health.assigned(2)
    assert health.readiness.is_ready
    health.held("pumps[1]", "too many malformed")
    health.store_away("connection refused")
    assert set(health.readiness.reasons) == {"held pumps[1]", "store"}
    health.released("pumps[1]")
    health.store_there()
    health.assigned(0)
    assert "no partition of pumps" in health.readiness.reasons["assignment"]


async def test_livez_readyz_and_metrics_are_served() -> None:
    metrics, readiness = Metrics(), Readiness()
    readiness.block("store", "Redis does not answer")
    metrics.partitions.set(3)
    server = HealthServer("127.0.0.1", 0, metrics.registry, readiness, facts={"application_id": "demo"})
    async with server, aiohttp.ClientSession(server.url) as client:
        assert server.port > 0
        async with client.get("/livez") as answer:
            assert (answer.status, await answer.json()) == (200, {"live": True, "application_id": "demo"})
        async with client.get("/readyz") as answer:
            body = {"ready": False, "reasons": {"store": "Redis does not answer"}}
            assert (answer.status, await answer.json()) == (503, body)
        readiness.clear("store")
        async with client.get("/readyz") as answer:
            assert (answer.status, await answer.json()) == (200, {"ready": True, "reasons": {}})
        async with client.get("/metrics") as answer:
            families = {family.name: family for family in text_string_to_metric_families(await answer.text())}
    assert families["tidecast_partitions_assigned"].samples[0].value == 3


async def test_a_port_that_is_taken_is_named() -> None:
    async with HealthServer("127.0.0.1", 0, Metrics().registry, Readiness()) as first:
        second = HealthServer("127.0.0.1", first.port, Metrics().registry, Readiness())
        with pytest.raises(TidecastError, match=rf"expected 127\.0\.0\.1:{first.port} to be free.*http\.port"):
            await second.on_start()
        await second.on_stop()


async def test_an_address_that_is_not_of_this_machine_is_named() -> None:
    for host in ("192.0.2.1", "nowhere.invalid"):  # one of documents, which nobody has, and a name that nobody knows
        server = HealthServer(host, 0, Metrics().registry, Readiness())
        with pytest.raises(TidecastError, match=rf"an address of this machine, found {host} .*http\.host"):
            await server.on_start()
        await server.on_stop()


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Any:
    """The lines logged so far as objects; the logging of the test run comes back afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    configure_logs("info", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_both_kinds_of_loggers_write_one_json_object_a_line(lines: Any) -> None:
    structlog.get_logger("ours").info("model swapped", version="v3", seconds=0.5)
    logging.getLogger("theirs").warning("took %d s", 3)
    logging.getLogger("faust").info("chatter")
    structlog.get_logger("ours").debug("too much")
    first, second = lines()
    assert (first["event"], first["version"], first["level"], first["logger"]) == (
        "model swapped",
        "v3",
        "info",
        "ours",
    )
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"], second["logger"]) == ("took 3 s", "warning", "theirs")


def test_exceptions_and_warnings_stay_on_their_line(lines: Any) -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        structlog.get_logger("ours").error("failed", exc_info=error)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    failed, warned = lines()
    assert "ValueError: first\nsecond" in failed["exception"]
    assert warned["logger"] == "py.warnings"


def test_what_a_worker_waits_for_is_a_metric_as_long_as_it_does() -> None:
    """Else nobody would be told that Kafka is away: every other number stands still."""
    metrics, health = Metrics(), Health(Settings())
    metrics.show_readiness(health.readiness)

    def waits() -> set[str]:
        return {name for name in BLOCKING if sample(metrics, "tidecast_not_ready", reason=name)}

    assert waits() == {"start", "assignment"}
    health.started()
    health.assigned(1)
    assert waits() == set()
    health.restore_waits("no offsets", "kafka")
    assert waits() == {"restore", "kafka"}
    health.restore_waits("no state", "store")
    assert waits() == {"restore", "store"}
    health.store_away("no answer")
    health.restored()
    assert waits() == {"store"}  # checkpoints are paused all the same
    health.store_there()
    health.publishing_fails("no broker")
    health.held("tides[0]", "malformed")
    assert waits() == {"publisher", "held"}
    health.waiting("away", "kafka")
    health.store_away("away")
    health.registry_away("away")
    health.restore_waits("away", "store")
    health.assigned(0)
    assert waits() == set(BLOCKING)
    assert {name for name in BLOCKING if not health.readiness.is_blocked(name)} == set()
    assert {each.partition(" ")[0] for each in health.readiness.reasons} == {each.split(" ")[0] for each in BLOCKING}
