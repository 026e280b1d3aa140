"""The story of the demo, in order. However the demo ends, everything that it started ends with it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from model_core.spec import OUTPUT_KINDS
from stream_app.demo.collecting import Collector
from stream_app.demo.plan import PARTITIONS, Plan, configuration
from stream_app.demo.processes import Child, StopSignals
from stream_app.demo.stage import Stage
from stream_app.demo.table import Report, make_report
from stream_app.errors import TidecastError
from stream_app.kafka.address import QUIET
from stream_app.kafka.producing import Pace, ReadingsProducer, create_topic, single_messages
from stream_app.local_services import LocalServices
from stream_app.local_services.ports import free_port
from stream_app.tables import Table

WAIT_POLL_S = 0.1
READY_TIMEOUT_S = 60.0
SILENCE_TIMEOUT_S = 60.0  # no message and no commit for so long: something is broken
SWAP_TIMEOUT_S = 45.0
COMMITTED_EVERY_S = 0.5
NOTHING_TO_LEARN = 2  # exit code of the trainer
DOWNLOADS = Path(".tidecast/kafka-jars")


@dataclass
class Demo:
    """What the steps share."""

    plan: Plan
    stage: Stage
    signals: StopSignals
    folder: Path
    client: dict[str, Any]
    config: Path
    worker: Child
    collector: Collector

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Read, draw and watch the worker until `done`. Returns False when nothing happened for `timeout_s`."""
        last_sign = time.monotonic()
        while not done():
            self.signals.check()
            self.worker.require_running()
            if self.collector.pump(WAIT_POLL_S):
                last_sign = time.monotonic()
            self.stage.refresh()
            if time.monotonic() - last_sign > timeout_s:
                return False
        return True


@contextmanager
def running(plan: Plan, stage: Stage, signals: StopSignals, *, watch: bool, keep: bool) -> Iterator[Demo]:
    """Services, topics and a worker. When the context is left, all of them have ended and the folder is gone."""
    folder = Path(mkdtemp(prefix=f"tidecast-{plan.name}-"))
    with ExitStack() as ends:
        if not keep:
            ends.callback(rmtree, folder, ignore_errors=True)
        stage.begin("Kafka and Valkey")
        services = LocalServices(folder, free_ports=True, downloads=DOWNLOADS, progress=stage.advance)
        ends.callback(services.down)
        services.up()
        stage.end(f"{services.kafka_bootstrap}, {services.redis_url}")
        stage.begin("worker")
        client = {"bootstrap.servers": services.kafka_bootstrap} | QUIET
        _create_topics(plan, client)
        http_port = free_port()
        config = folder / "tidecast.toml"
        config.write_text(
            configuration(
                plan,
                bootstrap=services.kafka_bootstrap,
                redis_url=services.redis_url,
                registry=folder / "models",
                http_port=http_port,
            )
        )
        with signals.held():
            worker = Child("worker", ["worker", "--config", str(config)], folder / "worker.log")
            ends.callback(worker.stop)
        collector = Collector(plan, client, watch=watch)
        ends.callback(collector.close)
        stage.watched = collector.watched
        demo = Demo(plan, stage, signals, folder, client, config, worker, collector)
        if not demo.wait(lambda: _is_ready(http_port), READY_TIMEOUT_S):
            raise TidecastError(f"The worker was not ready in {READY_TIMEOUT_S:.0f} s. Its log:\n{worker.log_tail()}")
        stage.end()
        try:
            yield demo
        finally:
            signals.stopping()


def tell(demo: Demo, pace: Pace) -> Report:
    """Run the demo from the first reading to the last forecast. `pace` is that of the second half."""
    began = time.monotonic()
    plan, stage = demo.plan, demo.stage
    _produce(demo, "first half", plan.first_half(), Pace(None))
    training = _train(demo)
    _wait_until_processed(demo, "first forecasts")
    if training.took_charge:
        _wait_for_swap(demo)
    _produce(demo, "second half", plan.second_half(), pace)
    _wait_until_processed(demo, "last forecasts")
    stage.begin("scoring")
    report = make_report(demo.collector, demo.collector.scorer.finish(), time.monotonic() - began)
    stage.end()
    return replace(report, training=training.told)


def _create_topics(plan: Plan, client: dict[str, Any]) -> None:
    # Event times are years old, and so would records be for the broker if they carried them; they carry the time of
    # sending, and nothing is ever deleted.
    for topic in (plan.spec.topic, *(plan.spec.outputs.topic(output, plan.name) for output in OUTPUT_KINDS)):
        create_topic(topic, PARTITIONS, client, config={"retention.ms": "-1"})


def _is_ready(http_port: int) -> bool:
    from urllib.request import urlopen

    try:
        with urlopen(f"http://127.0.0.1:{http_port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:  # not listening yet, or 503 with its reasons
        return False


def _produce(demo: Demo, title: str, table: Table, pace: Pace) -> None:
    def progress(handed: int) -> None:
        demo.signals.check()
        demo.worker.require_running()
        demo.collector.pump()
        demo.stage.advance(handed)

    demo.stage.begin(title, total=len(table))
    producer = ReadingsProducer(demo.plan.spec.topic, demo.client)
    producer.send(single_messages(table, None), pace, progress=progress)
    producer.flush()
    demo.stage.end(f"{producer.sent:,} readings")


@dataclass(frozen=True)
class Training:
    took_charge: bool
    told: str


def _train(demo: Demo) -> Training:
    """Too little history, or a model that is not better, is no failure: then the naive forecasts answer."""
    demo.stage.begin("training")
    arguments = ["train", "--config", str(demo.config)]
    with demo.signals.held():
        trainer = Child("train", arguments, demo.folder / "train.log")
    try:
        demo.wait(lambda: trainer.ended() is not None, float("inf"))
    finally:
        trainer.stop()
    if trainer.ended() == NOTHING_TO_LEARN:
        training = Training(False, f"no model: {trainer.log_tail().splitlines()[-1]}")
    elif trainer.ended() != 0:
        raise TidecastError(f"tidecast train failed. The end of its log:\n{trainer.log_tail()}")
    elif (version := _champion(demo)) is None:
        training = Training(False, "no model: the trained one was not better than the naive forecasts")
    else:
        training = Training(True, f"model {version}")
    demo.stage.end(training.told)
    return training


def _champion(demo: Demo) -> str | None:
    from stream_app.models.registry import ModelRegistry

    return ModelRegistry(str(demo.folder / "models")).champion(demo.plan.name)


def _wait_for_swap(demo: Demo) -> None:
    demo.stage.begin("model takes charge")
    used = _partitions_with_readings(demo)
    if not demo.wait(lambda: used <= demo.collector.collected.swapped, SWAP_TIMEOUT_S):
        raise TidecastError(
            f"The worker did not take the new champion in {SWAP_TIMEOUT_S:.0f} s. Its log:\n{demo.worker.log_tail()}"
        )
    demo.stage.end()


def _wait_until_processed(demo: Demo, title: str) -> None:
    """Outputs are committed no later than the offsets: with the last offset, the last forecast is there too."""
    demo.stage.begin(title)
    next_look, left = 0.0, 1

    def processed() -> bool:
        nonlocal next_look, left
        if time.monotonic() >= next_look:
            left = _unprocessed(demo)
            next_look = time.monotonic() + COMMITTED_EVERY_S
        return left == 0

    if not demo.wait(processed, SILENCE_TIMEOUT_S):
        raise TidecastError(
            f"The worker stopped making progress, {left:,} readings before the end. Its log:\n{demo.worker.log_tail()}"
        )
    demo.collector.catch_up()
    demo.stage.end(f"{int(demo.collector.collected.seen.sum()):,} so far")


def _unprocessed(demo: Demo) -> int:
    """Readings in the topic that the worker has not committed."""
    from confluent_kafka import Consumer, TopicPartition

    application_id = f"{demo.plan.name}-demo"
    consumer = Consumer(demo.client | {"group.id": application_id, "enable.auto.commit": False})
    try:
        places = [TopicPartition(demo.plan.spec.topic, partition) for partition in range(PARTITIONS)]
        left = 0
        for place in consumer.committed(places, timeout=10):
            _, end = consumer.get_watermark_offsets(place, timeout=10)
            left += end - max(place.offset, 0)
        return left
    finally:
        consumer.close()


def _partitions_with_readings(demo: Demo) -> set[int]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(demo.client | {"group.id": "tidecast-people"})
    try:
        ends = {
            partition: consumer.get_watermark_offsets(TopicPartition(demo.plan.spec.topic, partition), timeout=10)[1]
            for partition in range(PARTITIONS)
        }
        return {partition for partition, end in ends.items() if end}
    finally:
        consumer.close()
