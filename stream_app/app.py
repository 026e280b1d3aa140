"""create_app(settings): the composition root. Every part of the worker is made and wired here, once, by hand.

Threads, and what goes from one to the next:

    poll thread (polling/) ── poll batches ───▶ event loop: the Faust agent (agents.py)
        ▲                                            │
        │ permits, offsets to commit, rewinds        ▼
    publisher thread (delivery/) ◀── parcels ── pipeline thread (pipeline/)
        │ committed cuts
        ▼
    saver thread (delivery/saver.py)

Faust brings the agent, supervision and signals; its own Kafka transport is off, since it takes one event at a time.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import faust
import mode
import structlog

from model_core.libraries import library_of
from stream_app.agents import add_agents
from stream_app.checkpoints import CheckpointStore, Identity, connect
from stream_app.dead_letters.holds import HoldWatcher
from stream_app.delivery import AtLeastOnce, ExactlyOnce
from stream_app.delivery.commits import OffsetCommits
from stream_app.delivery.publisher import Publisher
from stream_app.delivery.saver import Saver
from stream_app.errors import TidecastError
from stream_app.kafka.clients import consumer_properties, output_properties
from stream_app.models.registry import ModelRegistry
from stream_app.models.watcher import ModelWatcher
from stream_app.observability.health import Health, HealthServer
from stream_app.observability.metrics import Metrics
from stream_app.partitions.names import StreamPartition
from stream_app.pipeline.forecast_batches import ForecastBatches
from stream_app.pipeline.pipeline import Pipeline
from stream_app.polling.assignment import Assignment
from stream_app.polling.consumer import PollThread
from stream_app.polling.poll_batch import PollBatch
from stream_app.recovery.restore import Restorer
from stream_app.recovery.rewinds import Rewinds
from stream_app.runtime.startup import wait_until_usable
from stream_app.schema_registry.client import schemas_of
from stream_app.schema_registry.our_schemas import avro_writers

if TYPE_CHECKING:
    from stream_app.settings import Settings
    from stream_app.wire.writer import Writer

LAST_JOIN_S = 2.0  # for threads that have nothing left to do
log = structlog.get_logger(__name__)


class App(faust.App):
    """A Faust app without a transport of its own."""

    mundane_level = "debug"  # its "Starting…" lines
    logger = logging.getLogger("mode.app")  # not this module's: what Faust has to say of a failure, we have said

    class BootStrategy(faust.App.BootStrategy):
        enable_kafka = False
        enable_web = False


def create_app(settings: Settings) -> App:
    """Nothing runs until the app is started (cli/worker.py)."""
    app = App(
        settings.application_id,
        broker="kafka://not-used",
        store="memory://",
        datadir=tempfile.gettempdir(),
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    data_plane = DataPlane(settings, app)
    add_agents(
        app,
        channel=data_plane.channel,
        pipeline=data_plane.pipeline,
        pipeline_thread=data_plane.pipeline_thread,
        handled=data_plane.poll_thread.handled,
        failed=data_plane.discard,
    )

    @app.service
    class DataPlaneService(mode.Service):
        """Starts after the agent, stops before it, so that what is in flight still gets through."""

        mundane_level = "debug"

        async def on_start(self) -> None:
            try:
                await self.add_runtime_dependency(data_plane.health_server)
                app.flow_control.resume()  # Faust resumes it when its own consumer starts; else a put waits forever
                await data_plane.start()
            except Exception as error:
                data_plane.discard(error)  # says why: Faust would end without a word
                raise

        async def on_stop(self) -> None:
            await data_plane.stop()

    app.data_plane = data_plane
    return app


def _redis(settings: Settings) -> Any:
    return connect(settings.redis.url, timeout_s=settings.limits.redis_timeout / 1000, cluster=settings.redis.cluster)


def _store(settings: Settings, redis: Any) -> CheckpointStore:
    return CheckpointStore(redis, settings.application_id, chunk_bytes=settings.limits.checkpoint_chunk_bytes_max)


def _delivery(settings: Settings, commits: OffsetCommits) -> ExactlyOnce | AtLeastOnce:
    made = ExactlyOnce if settings.delivery == "exactly_once" else AtLeastOnce
    return made(settings, output_properties(settings), commits)


def _health_server(settings: Settings, metrics: Metrics, health: Health) -> HealthServer:
    facts = {"application_id": settings.application_id, "instance_id": settings.instance_name}
    return HealthServer(settings.http.host, settings.http.port, metrics.registry, health.readiness, facts=facts)


def _metrics(settings: Settings, health: Health) -> Metrics:
    metrics = Metrics()
    for stream in settings.streams:
        metrics.begin(stream)
    metrics.show_readiness(health.readiness)
    return metrics


class DataPlane:
    """The parts of one worker."""

    def __init__(self, settings: Settings, app: App) -> None:
        self._settings = settings
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self.stopped_cleanly = True
        self.health = Health(settings)
        self.metrics = _metrics(settings, self.health)
        self.health_server = _health_server(settings, self.metrics, self.health)
        self.channel: Any = app.channel()
        self.pipeline_thread = ThreadPoolExecutor(1, "pipeline")
        self._identities: dict[str, Identity] = {}  # known once Kafka has been reached
        self._schemas = schemas_of(settings, self.health)
        self._writers: dict[str, Writer] = {}  # known once the schema registry has been reached
        redis = _redis(settings)
        self._store = _store(settings, redis)
        registry = ModelRegistry(settings.models.registry)
        forecasts = ForecastBatches(settings, registry, self.metrics)
        self._watcher = ModelWatcher(settings, registry, self.metrics)
        commits, rewinds = OffsetCommits(), Rewinds()
        restorer = Restorer(settings, store=self._store, facts=forecasts.facts, identities=self._identities)
        assignment = Assignment(settings, restorer=restorer, health=self.health)
        saver = Saver(settings, self._store, lambda: assignment.owned, self.health, self.metrics, rewinds, self.fail)
        self._publisher = Publisher(
            settings,
            delivery=_delivery(settings, commits),
            rewinds=rewinds,
            saver=saver,
            health=self.health,
            metrics=self.metrics,
            on_fatal=self.fail,
        )
        self.pipeline = Pipeline(
            settings,
            identities=self._identities,
            forecasts=forecasts,
            offers=self._watcher.offers,
            candidates=self._watcher.candidates,
            publisher=self._publisher,
            saver=saver,
            store=self._store,
            metrics=self.metrics,
            hold=self._hold,
            now_ms=lambda: time.time_ns() // 1_000_000,
            schemas=self._schemas,
            writers=self._writers,
        )
        self.poll_thread = PollThread(
            settings,
            consumer_properties=consumer_properties(settings),
            assignment=assignment,
            commits=commits,
            rewinds=rewinds,
            metrics=self.metrics,
            put=self._put,
            pace=self.pipeline,
            prepare=self._prepare,
            on_fatal=self.fail,
        )
        self._hold_watcher = HoldWatcher(settings, redis, self.poll_thread.held, self.poll_thread.accept)

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        log.info(
            "started",
            application_id=self._settings.application_id,
            instance_id=self._settings.instance_name,
            http=self.health_server.url,
            device=library_of(self._settings.device).name,
            streams={stream: spec.topic for stream, spec in self._settings.streams.items()},
        )
        self._publisher.start()
        self.poll_thread.start()

    def _prepare(self, stopping: threading.Event) -> None:
        """In the poll thread, before it subscribes."""
        self._identities.update(
            wait_until_usable(
                self._settings,
                store=self._store,
                health=self.health,
                stopping=stopping,
                find_schemas=lambda: self._writers.update(avro_writers(self._settings)),
            )
        )
        if not stopping.is_set():
            self._publisher.open(stopping)
            self._watcher.start()
            self._hold_watcher.start()

    def _put(self, poll_batch: PollBatch) -> None:
        """Into the agent's channel, from the poll thread."""
        assert self._loop is not None
        deadline_s = self._settings.limits.liveness_deadline / 1000
        try:
            asyncio.run_coroutine_threadsafe(self.channel.put(poll_batch), self._loop).result(deadline_s)
        except TimeoutError:
            raise TidecastError(
                f"Expected the event loop to take a poll batch within {deadline_s:g} s (limits.liveness_deadline); it "
                "stands still. The worker ends; nothing is lost."
            ) from None

    def _hold(self, at: StreamPartition, reason: str) -> None:
        self.poll_thread.hold(at, reason)

    def fail(self, error: BaseException) -> None:
        """From any thread: what is in memory is discarded, the process exits with 1."""
        if self._failure is None and self._loop is not None:
            self.discard(error)
            asyncio.run_coroutine_threadsafe(self._app.crash(error), self._loop)

    def discard(self, error: BaseException) -> None:
        """Save nothing more: after a failure, what is in memory is not to be trusted."""
        if self._failure is None:
            self._failure = error
            self.pipeline.fail()
            log.error("worker ends", error=str(error), exc_info=None if isinstance(error, TidecastError) else error)

    async def stop(self) -> None:
        """Stop polling, drain, commit, checkpoint, leave the group: in the order of the data, each with a deadline."""
        await asyncio.get_running_loop().run_in_executor(None, self._stop)
        # In the loop, so that the agent is not just about to hand it another. After a stop in the midst of a rewind
        # some are left, and nothing that is made of them would count.
        self.pipeline.fail()
        self.pipeline_thread.shutdown(wait=False, cancel_futures=True)

    def _stop(self) -> None:
        started = time.monotonic()
        deadline_s = self._settings.limits.shutdown_deadline / 1000
        if self._schemas is not None:
            self._schemas.stop()
        left = self.poll_thread.stop(discard=self._failure is not None, timeout_s=deadline_s)
        published = self._publisher.stop(LAST_JOIN_S)
        watched = self._watcher.stop(LAST_JOIN_S) and self._hold_watcher.stop(LAST_JOIN_S)
        self.stopped_cleanly = left and published and watched
        log.info("stopped", cleanly=self.stopped_cleanly, seconds=round(time.monotonic() - started, 3))
