"""A partition goes on without the model that is in charge of it, for as long as it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_core.partition import PartitionState
from stream_app.checkpoints import Identity
from stream_app.delivery.parcel import Parcel
from stream_app.models.registry import ModelRegistry
from stream_app.observability.metrics import Metrics
from stream_app.partitions.journaled import Journaled
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned
from stream_app.pipeline.forecast_batches import ForecastBatches
from stream_app.pipeline.pipeline import Pipeline
from stream_app.polling.poll_batch import Assigned, PollBatch
from stream_app.settings import Settings
from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import NOW_MS, message, reading

AT = StreamPartition("pumps", 0)
STREAM = {"topic": "pumps", "freq": "10min", "context_length": 24, "horizon": 6, "min_readings": 1}
STREAM |= {"readings_per_step": 1, "max_out_of_orderness": "0s"}


class Away:
    """A publisher that has all the time, and a saver whose store is away."""

    is_transactional = takes_outputs = is_away = True
    lead_s = 0.0

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []

    def submit(self, parcel: Parcel) -> None:
        self.parcels.append(parcel)


def pipeline(tmp_path: Path) -> tuple[Pipeline, Owned]:
    settings = Settings.model_validate({"streams": {"pumps": STREAM}, "models": {"registry": str(tmp_path)}})
    metrics, around = Metrics(), Away()
    metrics.begin("pumps")
    parts: Any = {"publisher": around, "saver": around, "store": None}
    made = Pipeline(
        settings,
        identities={"pumps": Identity("cluster", "topic", 1, "group")},
        forecasts=ForecastBatches(settings, ModelRegistry(str(tmp_path)), metrics),
        offers={},
        candidates={},
        metrics=metrics,
        hold=lambda at, reason: None,
        now_ms=lambda: NOW_MS,
        **parts,
    )
    spec = settings.streams["pumps"]
    state = PartitionState(spec, 0)
    state.model_version = "gone"
    owned = Owned(AT, spec, state, None, 0, 0, Journaled())  # type: ignore[arg-type]
    made.process(PollBatch(change=Assigned((owned,))))
    return made, owned


def test_what_is_remembered_of_a_model_that_does_not_answer_does_not_grow(tmp_path: Path) -> None:
    """Each window of each poll batch looked through all of it: a worker whose registry was emptied came to a halt."""
    ours, owned = pipeline(tmp_path)
    for offset in range(100):
        values = [message(reading(timestamp=NOW_MS - (1000 - offset) * 600_000), offset=offset)]
        ours.process(PollBatch({"pumps": MessageColumns.of(values)}, {AT: offset + 1}))
    assert owned.journaled.count > 50, "it was never asked: nothing was tried"
    assert len(owned.journaled.failed) <= 1
