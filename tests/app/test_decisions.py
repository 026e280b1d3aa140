"""What a pipeline decides: idle closes, and that a model does not answer, for as long as it takes; and its replay."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from model_core.errors import ModelFailed
from model_core.partition import PartitionState
from model_core.passes import CpuPasses
from stream_app.checkpoints import Identity
from stream_app.delivery.outbox import Addressed
from stream_app.delivery.parcel import Parcel
from stream_app.models.registry import ModelRegistry
from stream_app.models.speed import untrained
from stream_app.observability.metrics import Metrics
from stream_app.partitions.journaled import Decision, Journaled
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned, Receipt
from stream_app.pipeline.forecast_batches import ForecastBatches
from stream_app.pipeline.pipeline import Pipeline
from stream_app.polling.poll_batch import Assigned, PollBatch, Released
from stream_app.settings import Settings
from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import NOW_MS, message, reading, spec
from tests.app.saved_states import same_state

AT = StreamPartition("pumps", 0)
CLOSING = {"idle_timeout": "1s", "max_out_of_orderness": "2h"}
STREAM = {"topic": "pumps", "freq": "10min", "context_length": 24, "horizon": 6, "seasonality": ["2h"]}
READINGS = 100
VERSION = "gone"


class Around:
    """The publisher, which keeps what it is sent, and a saver whose store is away."""

    is_transactional = is_away = True
    takes_outputs = False
    lead_s = 0.0

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []

    def submit(self, parcel: Parcel) -> None:
        self.parcels.append(parcel)


class Deployment:
    """A pipeline with one partition, from the beginning of its log; the registry may have its model or not."""

    def __init__(self, registry: Path, stream: dict[str, Any], *, emit_from: int = 0, journal: Sequence[Decision] = ()):
        configuration = {"streams": {"pumps": stream}, "models": {"registry": str(registry)}, "device": "cpu"}
        settings = Settings.model_validate(configuration)
        spec, metrics, self.around = settings.streams["pumps"], Metrics(), Around()
        metrics.begin("pumps")
        parts: Any = {"publisher": self.around, "saver": self.around, "store": None}
        self.pipeline = Pipeline(
            settings,
            identities={"pumps": Identity("cluster", "topic", 1, "group")},
            forecasts=ForecastBatches(settings, ModelRegistry(str(registry)), metrics),
            offers={},
            candidates={},
            metrics=metrics,
            hold=lambda at, reason: None,
            now_ms=lambda: NOW_MS,
            **parts,
        )
        state, token = PartitionState(spec, 0), Any
        state.model_version = VERSION
        self.owned = Owned(AT, spec, state, token, 0, emit_from, Journaled.after(journal, 0, 0))  # type: ignore[arg-type]
        self.pipeline.process(PollBatch(change=Assigned((self.owned,))))

    def read(self, first: int, end: int) -> None:
        """One reading a poll batch, ten minutes apart."""
        for offset in range(first, end):
            value = reading(timestamp=NOW_MS + (offset - 2 * READINGS) * 600_000, value=20 + offset % 7)
            messages = MessageColumns.of([message(value, offset=offset)])
            self.pipeline.process(PollBatch({"pumps": messages}, {AT: offset + 1}))

    def take(self, log: Sequence[dict[str, Any]], first: int, *, together: int = 1) -> None:
        """These messages from the offset `first` on, so many a poll batch."""
        for at in range(0, len(log), together):
            some = [message(each, offset=first + at + place) for place, each in enumerate(log[at : at + together])]
            self.pipeline.process(PollBatch({"pumps": MessageColumns.of(some)}, {AT: first + at + len(some)}))

    def is_silent(self) -> None:
        self.pipeline.process(PollBatch(idle=frozenset([AT]), ended=frozenset([AT])))

    def journal(self) -> list[Decision]:
        """What has left."""
        return [Decision.from_record(json.loads(each.value or b"")) for each in self.left("journal")]

    def left(self, kind: str) -> list[Addressed]:
        """Records of such a topic; the partition is let go of."""
        self.pipeline.process(PollBatch(change=Released(frozenset([AT]), Receipt())))
        left = [record for parcel in self.around.parcels for record in parcel.outbox.addressed]
        return [record for record in left if record.topic.endswith(kind)]


def test_what_is_remembered_of_a_model_that_does_not_answer_does_not_grow(tmp_path: Path) -> None:
    """Each window of each poll batch looked through all of it: a worker whose registry was emptied came to a halt."""
    deployment = Deployment(tmp_path, STREAM | {"readings_per_step": 1, "max_out_of_orderness": "0s"})
    deployment.read(0, READINGS)
    assert deployment.owned.journaled.count > READINGS / 2, "it was never asked: nothing was tried"
    assert len(deployment.owned.journaled.failed) <= 1


@pytest.mark.parametrize("is_back", [False, True], ids=["still gone", "back by then"])
def test_an_idle_close_without_the_model_is_replayed_without_it(tmp_path: Path, is_back: bool) -> None:
    stream = STREAM | CLOSING
    live = Deployment(tmp_path, stream)
    live.read(0, 60)
    live.is_silent()
    live.read(60, READINGS)
    journal = live.journal()
    assert "idle_close" in [decision.kind for decision in journal]
    if is_back:
        spec = live.owned.spec
        ModelRegistry(str(tmp_path)).publish("pumps", untrained(spec, VERSION, 0.1), {})
    again = Deployment(tmp_path, stream, emit_from=READINGS, journal=journal)
    again.read(0, READINGS)
    same_state(live.owned.state, again.owned.state)


def test_a_silence_in_which_nothing_is_open_is_no_decision(tmp_path: Path) -> None:
    """Each restart of a worker meets the end of a silent partition once more."""
    deployment = Deployment(tmp_path, STREAM | CLOSING)
    deployment.is_silent()
    deployment.read(0, 10)
    for _ in range(3):
        deployment.is_silent()
    assert [decision.kind for decision in deployment.journal()].count("idle_close") == 1


class Fault:
    """The model fails in its calls number `first` to `last`."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.first = self.last = -1
        self.answered = self.failed = 0
        answers = CpuPasses.answers

        def failing(passes: CpuPasses, *arguments: Any) -> Any:
            if self.first <= self.answered + self.failed <= self.last:
                self.failed += 1
                raise ModelFailed("broken on purpose")
            self.answered += 1
            return answers(passes, *arguments)

        patched.setattr(CpuPasses, "answers", failing)

    def begin(self, *, after: int) -> None:
        """From now on, once it has answered so many more batches."""
        self.first, self.last = self.answered + self.failed + after, 1 << 40

    def end(self) -> None:
        self.last = -1


JUMP_TICKS = 10
SERIES = 5


def some_readings(first: int, ticks: int) -> list[dict[str, Any]]:
    """One a message, tick by tick."""
    return [
        reading(f"pump-{each}", 20 + (tick * 7 + each * 3) % 11, NOW_MS + (tick - READINGS) * 600_000)
        for tick, each in itertools.product(range(first, first + ticks), range(SERIES))
    ]


@pytest.mark.parametrize("after", [0, 1, 3], ids="after {} batches".format)
@pytest.mark.parametrize("together", [1, 1000], ids=["one by one", "in one poll batch"])
def test_windows_of_one_reading_that_were_answered_before_the_model_failed_are_answered_in_a_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, together: int
) -> None:
    """A reading that is hours ahead closes many ticks: more windows are due by it than one batch takes."""
    monkeypatch.setattr(PartitionState, "observe", partialmethod(PartitionState.observe, windows_max=8))
    fault, stream = Fault(monkeypatch), STREAM | {"max_out_of_orderness": "2h"}
    ModelRegistry(str(tmp_path)).publish("pumps", untrained(spec(**stream), VERSION, 0.1), {})
    log = some_readings(0, 50) + some_readings(50 + JUMP_TICKS, 10)
    ahead = 50 * SERIES
    live = Deployment(tmp_path, stream)
    live.take(log[:ahead], 0)
    fault.begin(after=after)
    live.take(log[ahead : ahead + 1], ahead)
    fault.end()
    live.take(log[ahead + 1 :], ahead + 1)
    assert fault.failed, "it never failed: nothing was tried"
    again = Deployment(tmp_path, stream, emit_from=len(log), journal=live.journal())
    again.take(log, 0, together=together)
    same_state(live.owned.state, again.owned.state)


def test_a_model_that_fails_in_the_poll_batch_in_which_a_replay_ends_fails_in_the_next_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its newer readings were published by nobody before."""
    fault, stream = Fault(monkeypatch), STREAM | {"max_out_of_orderness": "0s"}
    ModelRegistry(str(tmp_path)).publish("pumps", untrained(spec(**stream), VERSION, 0.1), {})
    log = some_readings(0, 60)
    live = Deployment(tmp_path, stream, emit_from=40 * SERIES)
    live.take(log[: 35 * SERIES], 0)
    fault.begin(after=0)
    live.take(log[35 * SERIES : 45 * SERIES], 35 * SERIES, together=1000)
    fault.end()
    live.take(log[45 * SERIES :], 45 * SERIES)
    assert fault.failed, "it never failed: nothing was tried"
    (decision,) = live.journal()
    assert (decision.detail["from_offset"], decision.detail["to_offset"]) == (40 * SERIES, 45 * SERIES)


HOUR_MS = 3_600_000


@pytest.mark.parametrize("together", [1, 2, 3, 1000], ids="{} a poll batch".format)
@pytest.mark.parametrize("emit_from", range(7))
def test_what_is_too_late_after_it_had_to_wait_makes_no_dead_letter_of_another_message(
    tmp_path: Path, together: int, emit_from: int
) -> None:
    """Readings that jump wait until another series confirms them. Their messages are gone by then, so they are counted
    only, wherever poll batches are cut, and wherever a replay ends."""
    deployment = Deployment(tmp_path, STREAM | {"max_watermark_jump": "1h"}, emit_from=emit_from)
    jumps = [("one", 0), ("other", 0), ("one", 10), ("one", 2), ("other", 9), ("other", 10), ("one", 1)]
    log = [reading(name, 20, NOW_MS - 20 * HOUR_MS + hour * HOUR_MS) for name, hour in jumps]
    deployment.take(log, 0, together=together)
    letters = [
        (int(dict(each.headers)["tidecast.error.offset"] or b""), each.value)
        for each in deployment.left("dead-letters")
    ]
    assert letters == [(offset, json.dumps(log[offset]).encode()) for offset in (4, 6) if offset >= emit_from]
