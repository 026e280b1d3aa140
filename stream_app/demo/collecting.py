"""The published messages as they arrive: counted, scored, and handed to the live view."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from model_core.arrays import BoolArray, FloatArray, IntArray
from model_core.spec import OUTPUT_KINDS
from stream_app.demo.plan import Plan
from stream_app.demo.scoring import Happened, Scorer
from stream_app.kafka.topic_follower import TopicFollower
from stream_app.watch import WatchModel
from stream_app.wire.decoded import Headers

KEPT_ORIGINS = 32  # of each series, whole, for the page


class _Forecast(msgspec.Struct):
    series_id: str
    origin: datetime
    revision: int
    model: str
    status: str
    reason: str | None = None
    quantiles: list[list[float | None]] = []


class _Horizon(msgspec.Struct):
    pinball: float | None = None
    baselines: dict[str, float | None] = {}


class _Accuracy(msgspec.Struct):
    series_id: str
    origin: datetime | None = None  # None: a summary
    horizons: list[_Horizon] = []


class _Decision(msgspec.Struct):
    kind: str = ""


class _Journal(msgspec.Struct):
    partition: int
    decision: _Decision


@dataclass
class Collected:
    """What has come so far; S series, T ticks of the file."""

    seen: BoolArray  # bool [S, T], origins with a forecast of revision 0
    twice: IntArray  # int64 [S], forecasts of revision 0 that came again
    revised: IntArray  # int64 [S], forecasts of a higher revision
    losses: FloatArray  # float64 [2 halves, S, 4], pinball at scored horizons: ours, seasonal naive, last value; number
    answers: list[Counter[tuple[str, str]]]  # per series, second half: (model, reason) → forecasts
    dead_letters: Counter[str] = field(default_factory=Counter)  # by reason
    swapped: set[int] = field(default_factory=set)  # partitions where a model took charge
    drifted: Counter[str] = field(default_factory=Counter)  # alarms of each series in the second half


class Collector:
    """`pump` reads what came and keeps it in `collected`, `scorer` and `watched`."""

    def __init__(self, plan: Plan, client: Mapping[str, Any], *, watch: bool) -> None:
        spec = plan.spec
        self.plan = plan
        self.happened = Happened.of(plan.table, spec.step_ms)
        last_origin = self.happened.last_tick - spec.horizon
        self.scorer = Scorer(
            self.happened,
            levels=list(spec.quantile_levels),
            horizon=spec.horizon,
            season=spec.default_season,
            first_origin=plan.split_tick,
            kept_origins=np.linspace(plan.split_tick, last_origin, KEPT_ORIGINS).astype(np.int64),
        )
        self.watched = WatchModel() if watch else None
        series, ticks = self.happened.values.shape
        self.collected = Collected(
            seen=np.zeros((series, ticks), bool),
            twice=np.zeros(series, np.int64),
            revised=np.zeros(series, np.int64),
            losses=np.zeros((2, series, 4)),
            answers=[Counter() for _ in range(series)],
        )
        self._codes = {name: code for code, name in enumerate(plan.table.series_ids)}
        self._outputs = {spec.outputs.topic(output, plan.name): output for output in OUTPUT_KINDS}
        self._follower = TopicFollower(list(self._outputs), client, newest=None)
        self._take = {
            "forecasts": self._on_forecast,
            "accuracy": self._on_accuracy,
            "drift": self._on_drift,
            "journal": self._on_journal,
        }
        self._decode_forecast = msgspec.json.Decoder(_Forecast).decode
        self._decode_accuracy = msgspec.json.Decoder(_Accuracy).decode
        self._decode_journal = msgspec.json.Decoder(_Journal).decode

    def pump(self, timeout_s: float = 0.0) -> int:
        """Read what has been published. Returns the number of messages."""
        number = 0
        for topic, messages in self._follower.poll(timeout_s).items():
            output = self._outputs[topic]
            if self.watched is not None and output in ("forecasts", "accuracy", "drift"):
                self.watched.feed(output, [(message.key(), message.value()) for message in messages])
            if output == "dead_letters":
                self.collected.dead_letters.update(_reason(message.headers()) for message in messages)
                continue
            if output == "control":
                continue  # for a trainer
            take = self._take[output]
            for message in messages:
                if (value := message.value()) is not None:
                    take(value)
            number += len(messages)
        return number

    def catch_up(self) -> None:
        """Read everything that has been published by now."""
        self._follower.refresh_ends()
        while not self._follower.caught_up():
            self.pump(0.1)

    def close(self) -> None:
        self._follower.close()

    def _on_forecast(self, value: bytes) -> None:
        message = self._decode_forecast(value)
        code, origin = self._codes[message.series_id], self._tick(message.origin)
        place = (code, origin - self.happened.first_tick)
        if message.revision:
            self.collected.revised[code] += 1
        elif self.collected.seen[place]:
            self.collected.twice[code] += 1
        self.collected.seen[place] = True
        if origin >= self.plan.split_tick:
            self.collected.answers[code][message.model, message.reason or "ok"] += 1
            self.scorer.add(code, origin, message.revision, message.quantiles)

    def _on_accuracy(self, value: bytes) -> None:
        record = self._decode_accuracy(value)
        if record.origin is None:
            return
        half = int(self._tick(record.origin) >= self.plan.split_tick)
        losses = self.collected.losses[half, self._codes[record.series_id]]
        for scored in record.horizons:
            naive = (scored.baselines.get("seasonal_naive"), scored.baselines.get("last_value"))
            if scored.pinball is not None and naive[0] is not None and naive[1] is not None:
                losses[0] += scored.pinball
                losses[1] += naive[0]
                losses[2] += naive[1]
                losses[3] += 1

    def _on_drift(self, value: bytes) -> None:
        record = msgspec.json.decode(value)
        # Before the trainer has calibrated it, the detector's threshold is that of Gaussian errors, and these are not.
        if record.get("state") != "drift" or not record.get("series_id"):
            return
        if self._tick(datetime.fromisoformat(record["since"])) >= self.plan.split_tick:
            self.collected.drifted[record["series_id"]] += 1

    def _on_journal(self, value: bytes) -> None:
        record = self._decode_journal(value)
        if record.decision.kind == "model":
            self.collected.swapped.add(record.partition)

    def _tick(self, moment: datetime) -> int:
        return int(moment.timestamp() * 1000) // self.plan.spec.step_ms


def _reason(headers: Headers | None) -> str:
    return (dict(headers or []).get("tidecast.error.reason") or b"unknown").decode()
