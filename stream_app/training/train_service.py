"""`tidecast train --follow`: waits for reasons to train and trains, one after the other, as long as it runs.

Reasons are a request in the control topic that no attempt has answered, a stream without any attempt, and the time that
has passed (`every_s`). What comes of a training is decided by the gate. With `models.promotion = "shadow"` it also
promotes a candidate whose scores in the shadow have proven it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from model_core.bundle import made_at
from model_core.errors import CoreError
from stream_app.errors import TidecastError
from stream_app.models.registry import ModelRegistry
from stream_app.training import train_job
from stream_app.training.control import ControlTopic
from stream_app.training.followed_history import FollowedHistory

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
POLL_S = 0.5


@dataclass(frozen=True)
class Pace:
    """When to train: all times in seconds since the epoch."""

    interval_s: float  # between two attempts at least
    every_s: float | None = None  # without any request

    def reason(self, now: float, asked_at: float | None, tried_at: float | None) -> str | None:
        """`tried_at`: when the newest attempt began, None: there was none."""
        if tried_at is None:
            return "no attempt yet"
        if now < tried_at + self.interval_s:
            return None
        if asked_at is not None and asked_at > tried_at:
            return "asked for"
        if self.every_s is not None and now >= tried_at + self.every_s:
            return "its time has come"
        return None


class TrainService:
    """One stream's. `now`: time.time."""

    def __init__(
        self, settings: Settings, stream: str, *, every_s: float | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._settings, self._stream, self._now = settings, stream, now
        self._pace = Pace(settings.models.retrain_interval / 1000, every_s)
        self._registry = ModelRegistry(settings.models.registry)
        self._history = FollowedHistory(settings, stream)
        self._failed_at: float | None = None  # an attempt that left nothing in the registry

    def run(self, stopping: threading.Event) -> None:
        """Until told to stop, which is heard between two trainings."""
        control = self.open(stopping)
        if control is None:
            return
        with control:
            log.info("following", stream=self._stream, asked=control.asked_at is not None)
            while not stopping.is_set():
                control.pump(POLL_S)
                self.step(control)

    def open(self, stopping: threading.Event) -> ControlTopic | None:
        """All that it says by now; None: told to stop. TidecastError when nobody answers for limits.start_deadline."""
        deadline = time.monotonic() + self._settings.limits.start_deadline / 1000
        said: str | None = None
        while not stopping.is_set():
            try:
                control = ControlTopic(self._settings, self._stream)
                control.read_all()
            except TidecastError as error:
                if time.monotonic() > deadline:
                    raise
                if str(error) != said:
                    said = str(error)
                    log.warning("waiting", reason=said)
                stopping.wait(POLL_S)
            else:
                return control
        return None

    def step(self, control: ControlTopic) -> None:
        reason = self._pace.reason(self._now(), control.asked_at, self._tried_at())
        if reason is not None:
            self._train(reason)
        if self._settings.models.promotion == "shadow":
            self._promote_what_is_proven(control)

    def _tried_at(self) -> float | None:
        times = [made_at(attempt.version) for attempt in self._registry.attempts(self._stream)[-1:]]
        return max((at for at in (*times, self._failed_at) if at is not None), default=None)

    def _train(self, reason: str) -> None:
        log.info("training begins", stream=self._stream, reason=reason)
        began = self._now()
        try:
            result = train_job.run(self._settings, self._stream, followed=self._history.read)
        except (TidecastError, CoreError, OSError) as error:
            self._failed_at = began
            log.error("training failed, the model in charge stays", stream=self._stream, error=str(error))
            return
        log.info(
            "training ended",
            stream=self._stream,
            version=result.version,
            promoted=result.promoted,
            verdict=result.trained.verdict.reason,
            seconds=round(self._now() - began, 3),
        )

    def _promote_what_is_proven(self, control: ControlTopic) -> None:
        """A candidate that passed the gate, and is better in the shadow too."""
        registry, stream = self._registry, self._stream
        candidate, champion = registry.alias(stream, "candidate"), registry.champion(stream)
        if candidate is None or candidate in (champion, registry.alias(stream, "previous")):
            return  # who was in charge and was taken back stays so
        evidence = control.evidence(candidate, champion)
        if evidence.proven and registry.report(stream, candidate).get("passed"):
            registry.promote(stream, candidate)
            log.info("proven in the shadow, promoted", stream=stream, version=candidate, evidence=evidence.sentence)
