"""Golden vectors: random windows and states, and the forecasts that a worker publishes for them.

They are computed by the code that publishes, not by the code that is exported: the predictor and the settlement of a
PartitionState.
"""

from dataclasses import dataclass, replace

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.batches import FILL_CODES, WindowBatch
from model_core.bundle import Bundle
from model_core.errors import ModelFailed
from model_core.export_inputs import series_inputs, window_inputs
from model_core.ladder import Rung
from model_core.outcomes import Forecasts, Observed, Wave, WaveKind
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.spec import StreamSpec

HOLES_MAX = 0.15  # share of the cells of a window: the model is asked
FIRST_ORIGIN, ORIGINS = 400_000, 5_000
COUNTS_APART_MAX = 1e-3  # share of the counts that lie on an edge and are rounded the other way


@dataclass(frozen=True)
class Golden:
    """B rows: inputs and the outputs that they must give, by name."""

    inputs: dict[str, AnyArray]
    outputs: dict[str, AnyArray]


class WorkerPath:
    """What a worker does with B windows that are due: the predictor, then the settlement that issues."""

    def __init__(
        self, spec: StreamSpec, bundle: Bundle, rows: int, seed: int, *, origins: int = ORIGINS, device: str = "cpu"
    ) -> None:
        """Windows of so many consecutive origins; in a worker's batch there are few."""
        rng = np.random.default_rng(seed)
        self._batch = batch = _windows(spec, bundle, rows, origins, rng)
        self._state, index = _state(spec, bundle, batch, rng)
        self._predictor = Predictor(spec, bundle, device=device)
        self._observed = Observed([_wave(index, batch.origins)], batch, [], (), {"warming_up": 0})
        self._bundle = bundle

    def publish(self) -> Forecasts:
        raw = self._predictor.raw(self._batch)
        raw = replace(raw, suspicious=np.zeros(len(self._batch), np.bool_))  # the ladder's; it is not exported
        return self._state.settle_and_issue(self._observed, raw).forecasts

    def take_fallbacks(self) -> list[str]:
        """The fallbacks of its predictor."""
        return self._predictor.take_fallbacks()

    def inputs(self) -> dict[str, AnyArray]:
        """The same as inputs of an exported model. To be called after something was published, which floors units."""
        spec, batch = self._state.spec, self._batch
        names = [name or "" for name in self._state.columns.ids]
        return window_inputs(spec, self._bundle, batch) | series_inputs(self._state, names, batch.scale[:, 0])


def golden_vectors(spec: StreamSpec, bundle: Bundle, rows: int, seed: int) -> Golden:
    """ModelFailed when the model does not answer every one of the windows: then there is nothing to export."""
    worker = WorkerPath(spec, bundle, rows, seed)
    issued = worker.publish()
    silent = int((issued.rungs != Rung.MODEL).sum())
    if silent:
        raise ModelFailed(f"model {bundle.manifest.version} has no finite answer to {silent} of {rows} windows")
    outputs = {"quantiles": issued.quantiles} | ({} if issued.mean is None else {"mean": issued.mean})
    return Golden(worker.inputs(), outputs)


def difference(found: AnyArray, expected: AnyArray, *, whole: bool) -> float:
    """The largest between outputs [B, …], relative to the largest value of its forecast; NaN where one is NaN.

    `whole`: counts are rounded up, and what lies on an edge may go either way; a few by one do not count.
    """
    apart = np.abs(found.astype(np.float64) - expected)
    if whole and (apart <= 1).all() and (apart > 0).mean() <= COUNTS_APART_MAX:
        return 0.0
    axes = tuple(range(1, expected.ndim))
    largest = np.abs(expected).max(axis=axes, keepdims=True).astype(np.float64)
    return float((apart / np.maximum(largest, np.finfo(np.float32).tiny)).max())


def _windows(spec: StreamSpec, bundle: Bundle, rows: int, origins: int, rng: np.random.Generator) -> WindowBatch:
    """Smooth and rough windows on levels of 1 to 10,000, with holes; the last two do not vary, one of them is zero."""
    length, horizon = spec.context_length, spec.horizon
    future = len(spec.future_covariates)
    width = 1 + len(spec.past_covariates) + future
    size = (rows, length, width)
    season = bundle.manifest.season
    phase = (np.arange(length)[None, :, None] + rng.integers(0, season, (rows, 1, width))) * 2 * np.pi / season
    rough = rng.uniform(0.01, 2, (rows, 1, 1)) * rng.normal(size=size)
    swing = 10.0 ** rng.uniform(-1, 2, (rows, 1, width))
    windows = 10.0 ** rng.uniform(0, 4, (rows, 1, width)) + swing * (np.sin(phase) + rough)
    windows[-1, :, 0] = windows[-1, 0, 0]
    windows[-2:-1, :, 0] = 0.0
    if spec.is_demand:
        windows[:, :, 0] = np.floor(np.abs(windows[:, :, 0]))
        seldom = np.arange(rows) % 3 == 1
        few = np.floor(rng.gamma(1.0, 4.0, (rows, length))) * (
            rng.random((rows, length)) < rng.uniform(0.05, 0.6, (rows, 1))
        )
        windows[seldom, :, 0] = few[seldom]
    center, scale = windows.mean(axis=1), windows.std(axis=1)
    holes = rng.random(size) < rng.uniform(0, HOLES_MAX, (rows, 1, 1))
    holes[holes[:, :, 0].mean(axis=1) > HOLES_MAX] = False
    gap_max = bundle.manifest.gap_max
    if gap_max is not None:  # with a longer gap at the end the ladder would answer
        holes[:, length - 1 - min(gap_max, length - 1), 0] = False
    windows[holes] = np.nan
    known = center[:, None, width - future :] + scale[:, None, width - future :] * rng.normal(
        size=(rows, horizon, future)
    )
    known[rng.random(known.shape) < HOLES_MAX] = np.nan
    fill = rng.integers(0, len(FILL_CODES), rows)
    far_from_zero = np.abs(center[:, 0]) > 10 * scale[:, 0]  # zeros would cost such a window its digits
    return WindowBatch(
        windows=windows.astype(np.float32),
        known=known.astype(np.float32),
        season=np.zeros((rows, season), np.float32),  # for the naive rungs, which are not exported
        origins=FIRST_ORIGIN + rng.integers(0, origins, rows),
        center=center,
        scale=scale,
        level=center[:, 0].copy(),
        fill=np.where(far_from_zero & (fill == FILL_CODES["zero"]), FILL_CODES["forward"], fill).astype(np.int8),
        readings=np.full(rows, length, np.int64),
    )


def _state(
    spec: StreamSpec, bundle: Bundle, batch: WindowBatch, rng: np.random.Generator
) -> tuple[PartitionState, IntArray]:
    """A state whose series have each learned something else; for a third of them, bounds cut the forecasts."""
    rows, manifest = len(batch), bundle.manifest
    state = PartitionState(spec, 0, bundle.facts())
    index = state.columns.add([f"golden-{row}" for row in range(rows)])
    flat = state.columns.flat
    units = batch.scale[:, 0] * rng.uniform(0.05, 1.5, rows)
    flat("unit")[index, Rung.MODEL] = np.stack([np.square(units), np.full(rows, 100.0)], axis=1)
    offsets = flat("offsets")
    offsets[index, Rung.MODEL] = rng.normal(0, 0.3, offsets[index, Rung.MODEL].shape)
    flat("calibrated")[index] = 1
    flat("base_row")[index] = rng.integers(-1, len(manifest.series), rows) if manifest.series else -1
    bounds: FloatArray = np.stack([batch.center[:, 0] - units, batch.center[:, 0] + units], axis=1)
    bounds[np.arange(rows) % 3 > 0] = (0.0 if spec.is_demand else -np.inf, np.inf)
    flat("bounds")[index] = bounds
    return state, index


def _wave(index: IntArray, origins: IntArray) -> Wave:
    """A wave in which forecasts are due and nothing settles."""
    rows = len(index)
    nothing = np.full(rows, np.nan)
    zeros = np.zeros(rows, np.int64)
    due = np.arange(rows)
    return Wave(index, origins, nothing, zeros, due, origins, zeros, origins, nothing, 0, 0, WaveKind.CORRECTED)
