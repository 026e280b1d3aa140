"""What a worker would have published for a log, and how good it was: the worker's own steps, without Kafka and Redis.

A forecast sees only what had arrived before it in the order of the log, and a model takes charge at one place of the
log, as in a running worker. Whatever a rung of the ladder answered counts, as it would have been served.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from model_core.arrays import FloatArray
from model_core.bundle import Bundle
from model_core.ladder import TRACKED_RUNGS
from model_core.outcomes import Forecasts, Observed, Outcome, Scored
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec

CHUNK = 20_000  # readings that are observed at once
NAIVE = ("seasonal_naive", "last_value")  # in the order of Scored.baselines


def steps(state: PartitionState, readings: Readings, predictor: Predictor) -> Iterator[tuple[Observed, Outcome]]:
    """The outcomes of readings, step by step as in the worker."""
    for first in range(0, len(readings), CHUNK):
        for observed in state.observe(readings.part(first, min(first + CHUNK, len(readings)))):
            raw = predictor.raw(observed.windows) if observed.windows is not None else None
            yield observed, state.settle_and_issue(observed, raw)


@dataclass
class Tally:
    """Sums over the scored forecasts of one series. K scored horizons, I central intervals (widest first)."""

    counted: FloatArray  # float64 [K]
    pinball: FloatArray  # float64 [K]
    error: FloatArray  # float64 [K], |actual − point|
    baselines: FloatArray  # float64 [K, 2], pinball of NAIVE with tracked intervals
    covered: FloatArray  # float64 [K, I]

    @classmethod
    def empty(cls, horizons: int, intervals: int) -> "Tally":
        return cls(
            np.zeros(horizons),
            np.zeros(horizons),
            np.zeros(horizons),
            np.zeros((horizons, len(NAIVE))),
            np.zeros((horizons, intervals)),
        )


@dataclass
class Played:
    """The result of one model."""

    series: dict[str, Tally] = field(default_factory=dict)
    kept: dict[tuple[str, int], FloatArray] = field(default_factory=dict)  # (series, origin) → float32 [Q, H]
    rungs: FloatArray = field(default_factory=lambda: np.zeros(TRACKED_RUNGS + 1))  # forecasts each has answered
    forecasts: int = 0


def play(
    spec: StreamSpec,
    partitions: Iterable[tuple[Readings, int]],
    bundle: Bundle | None,
    *,
    first_origin: int,
    kept_origins: frozenset[int] = frozenset(),
    device: str = "auto",
) -> Played:
    """`partitions`: the log of each, and the place in it from which the model is in charge; None: no model at all.

    Origins (ticks) from `first_origin` on count; forecasts of `kept_origins` are kept whole.
    """
    spec = spec.model_copy(update={"accuracy": "records"})
    before, after = Predictor(spec, None, device=device), Predictor(spec, bundle, device=device)
    played = Played()
    for number, (readings, cut) in enumerate(partitions):
        state = PartitionState(spec, number)
        for _ in steps(state, readings.part(0, cut), before):
            pass
        if bundle is not None:
            state.swap_model(bundle.facts())
        for _, outcome in steps(state, readings.part(cut, len(readings)), after):
            if outcome.scored is not None:
                _add(played, outcome.scored, first_origin)
            _keep(played, outcome.forecasts, first_origin, kept_origins)
    return played


def _add(played: Played, scored: Scored, first_origin: int) -> None:
    for row in np.flatnonzero(scored.origins >= first_origin).tolist():
        tally = played.series.get(scored.series_ids[row])
        if tally is None:
            tally = Tally.empty(scored.actual.shape[1], scored.covered.shape[2])
            played.series[scored.series_ids[row]] = tally
        there = np.isfinite(scored.pinball[row])
        there &= np.isfinite(scored.baselines[row]).all(axis=1)
        tally.counted += there
        tally.pinball += np.where(there, scored.pinball[row], 0.0)
        tally.error += np.where(there, np.abs(scored.error[row]), 0.0)
        tally.baselines += np.where(there[:, None], scored.baselines[row], 0.0)
        tally.covered += scored.covered[row] & there[:, None]


def _keep(played: Played, made: Forecasts, first_origin: int, kept_origins: frozenset[int]) -> None:
    late_enough = made.origins >= first_origin
    played.forecasts += int(late_enough.sum())
    played.rungs += np.bincount(made.rungs[late_enough], minlength=len(played.rungs))
    for row in np.flatnonzero(late_enough).tolist():
        if int(made.origins[row]) in kept_origins:
            played.kept[made.series_ids[row], int(made.origins[row])] = made.quantiles[row]
