"""A worker under load with a real Kafka and Valkey, and a real Prometheus that scrapes it every second."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from confluent_kafka import Producer

from deploy.prove.programs import REPOSITORY, expect, run, wait_for
from stream_app.local_services import LocalServices
from stream_app.local_services.ports import free_port

TIDECAST = Path(sys.executable).parent / "tidecast"
DATA = REPOSITORY / "stream_app" / "data" / "uci374_appliances_26ch_10min.csv.gz"
COMPOSE = REPOSITORY / "deploy" / "compose" / "tidecast.toml"
STREAM = "household"
STOP_S = 40
READY_S = 90
QUEUED_MAX = 1_000_000  # more than anybody sends at once


class Watched:
    """`rules` is the text of Prometheus' rules. Worker and producer are begun and ended by whoever proves."""

    def __init__(
        self,
        folder: Path,
        rules: str,
        configuration: Path = COMPOSE,
        variables: Mapping[str, str] | None = None,
        *,
        beside: Mapping[str, int] | None = None,
    ) -> None:
        """`beside`: name → port of who is scraped as well."""
        self._programs = folder
        self._configuration, self._more = configuration, dict(variables or {})
        self._beside = dict(beside or {})
        self._home = folder / "watched"
        self.registry = self._home / "models"
        self._rules = rules
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.worker_port, self._prometheus_port = free_port(), free_port()
        self.prometheus = f"http://127.0.0.1:{self._prometheus_port}"

    def __enter__(self) -> Self:
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir(parents=True)
        jars = REPOSITORY / ".tidecast" / "kafka-jars"
        self.services = LocalServices(self._home, free_ports=True, downloads=jars).__enter__()
        try:
            self.config = self._home / "tidecast.toml"
            self.config.write_text(self._configuration.read_text())
            self._environment = {
                "TIDECAST__KAFKA__BOOTSTRAP_SERVERS": self.services.kafka_bootstrap,
                "TIDECAST__REDIS__URL": self.services.redis_url,
                "TIDECAST__HTTP__PORT": str(self.worker_port),
                "TIDECAST__MODELS__REGISTRY": str(self.registry),
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(REPOSITORY),  # what is proven is this tree, wherever the program was installed from
                "HOME": str(Path.home()),  # kernels that are not there yet are compiled
                **self._more,
            }
            self.tidecast("topics", "create", "--partitions=2", "--replication=1")
            self._begin_prometheus()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in list(self._running):
            self.end(name, signal.SIGKILL if name == "worker" else signal.SIGTERM)
        self.services.__exit__(kind, error, at)

    def tidecast(self, *words: str) -> str:
        command: list[str | Path] = ["env", *self._variables(), TIDECAST, *words, "--config", self.config]
        return run(command, timeout_s=200)

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the configuration holds on this machine."""
        return dict(self._environment)

    def begin_worker(self) -> None:
        self.launch_worker()
        wait_for(self.is_ready, "the worker is ready", READY_S)

    def launch_worker(self) -> None:
        """It may take READY_S until it is ready: after a kill -9 the group waits for the one before."""
        self.begin("worker", [str(TIDECAST), "worker", "--config", str(self.config)], self._environment)

    def is_ready(self) -> bool:
        return bool(self.ask(f"http://127.0.0.1:{self.worker_port}/readyz", {})["ready"])

    def begin_producer(self, rate: int) -> None:
        words = ["produce", str(DATA), f"--topic={STREAM}", f"--rate={rate}", "--config", str(self.config)]
        self.begin("producer", [str(TIDECAST), *words], self._environment)

    def send(self, *values: str, times: int = 1) -> None:
        """Messages as they are, to all partitions."""
        self.send_keyed(STREAM, ((str(number), values[number % len(values)]) for number in range(times)))

    def send_keyed(self, topic: str, messages: Iterable[tuple[str, str]]) -> None:
        own = {"bootstrap.servers": self.services.kafka_bootstrap, "partitioner": "murmur2_random"}
        producer = Producer(own | {"queue.buffering.max.messages": QUEUED_MAX})
        for key, value in messages:
            producer.produce(topic, value, key=key)
            producer.poll(0)
        expect(producer.flush(30) == 0, "expected the messages to be taken")

    def begin(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        with (self._home / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        process = self._running.pop(name)
        process.send_signal(how)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def ask(self, url: str, parameters: Mapping[str, str]) -> Any:
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(url + query, timeout=10) as answer:
            return json.load(answer)

    def query(self, expr: str) -> list[Any]:
        """Prometheus' answer now."""
        return list(self.ask(f"{self.prometheus}/api/v1/query", {"query": expr})["data"]["result"])

    def firing(self) -> set[str]:
        return {alert for alert, _ in self.firing_of_streams()}

    def firing_of_streams(self) -> set[tuple[str, str]]:
        """(alert, stream); no stream: "" """
        alerts = self.ask(f"{self.prometheus}/api/v1/alerts", {})["data"]["alerts"]
        return {(a["labels"]["alertname"], a["labels"].get("stream", "")) for a in alerts if a["state"] == "firing"}

    def _variables(self) -> list[str]:
        return [f"{name}={value}" for name, value in self._environment.items()]

    def _begin_prometheus(self) -> None:
        rules = self._home / "rules.yml"
        rules.write_text(self._rules)
        scraped = {"tidecast-worker": self.worker_port} | self._beside
        jobs = [
            {"job_name": name, "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for name, port in scraped.items()
        ]
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": jobs,
        }
        file = self._home / "prometheus.yml"
        file.write_text(yaml.safe_dump(configuration))
        program = self._programs / "debian" / "usr" / "bin" / "prometheus"
        options = [f"--config.file={file}", f"--storage.tsdb.path={self._home / 'prometheus'}"]
        self.begin(
            "prometheus", [str(program), *options, f"--web.listen-address=127.0.0.1:{self._prometheus_port}"], {}
        )
        wait_for(lambda: self.ask(f"{self.prometheus}/api/v1/status/runtimeinfo", {}), "Prometheus answers")
