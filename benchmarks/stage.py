"""Where a figure is taken: one real Kafka, one real Valkey, one folder; all of it ends on the way out."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import redis
from filelock import FileLock, Timeout

from stream_app.local_services import LocalServices
from tests.conftest import RUN_LOCK

REPOSITORY = Path(__file__).parents[1]
LOCK_TIMEOUT_S = 7200
JARS = REPOSITORY / ".tidecast" / "kafka-jars"


class Stage:
    """Entered while `alone`. Figures do not share topics, groups or keys; the store is emptied between them."""

    def __init__(self, models: Path | None = None) -> None:
        """`models`: a folder that outlives the stage, so that the next figure need not train the same again."""
        self._open = ExitStack()
        self._models = models

    def __enter__(self) -> Self:
        self.folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="tidecast-bench-")))
        self.models = self._models or self.folder / "models"
        self._services = LocalServices(self.folder / "services", free_ports=True, downloads=JARS)
        self._open.enter_context(self._services)
        self.bootstrap = self._services.kafka_bootstrap
        self.redis_url = self._services.redis_url
        self.redis = self._open.enter_context(redis.Redis.from_url(self.redis_url, socket_timeout=60))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def pids(self) -> list[int]:
        """Of the broker and the store."""
        return [each.pid for each in self._services.status() if each.pid is not None]

    def redis_commands(self) -> int:
        """Commands that Valkey has carried out, those inside scripts included, without those that ask for it."""
        stats: dict[str, Any] = self.redis.info("commandstats")
        return sum(each["calls"] for name, each in stats.items() if name not in {"cmdstat_info", "cmdstat_flushall"})

    def empty_store(self) -> None:
        self.redis.flushall()


@contextmanager
def alone() -> Iterator[None]:
    """The same lock as the tests: two that measure or wait for servers disturb each other."""
    lock = FileLock(RUN_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for a run of the tests to end ({RUN_LOCK})", flush=True)
        lock.acquire(timeout=LOCK_TIMEOUT_S)
    try:
        yield
    finally:
        lock.release()


def machine() -> dict[str, Any]:
    """What the figures were taken on, in words that say nothing of whose machine it is."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cores": psutil.cpu_count() or 0,
        "cpu": model,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "java_on_path": shutil.which("java") is not None,
        "at": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
    }
