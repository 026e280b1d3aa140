"""The corrector: what the model keeps getting wrong about one series, learned from its delayed errors while it runs.

All series share the model's weights, and a series that moves in its own way shows the same errors again and again. For
each scored horizon up to `corrector_steps` a regression predicts the error of the model's location, y − ŷ, from four
numbers known at the origin: last value − ŷ, seasonal naive − ŷ (so that it may lean on either), and how far the series
has moved in one tick and in six. It is exponentially weighted least squares (Ljung and Söderström 1983) with a small
penalty, in the unit of the model's one-step error as it stood at the origin, winsorised.

A correction counts only while it has been better: its own absolute errors, as it would have corrected at each origin,
are weighed against those without it. It is interpolated between the horizons, and fades out beyond the last.

Training judges the model, and makes calibration tables, from its uncorrected answers. The arithmetic is
compiled/corrector.c.
"""

import ctypes
from dataclasses import replace

import numpy as np

from model_core.arrays import AnyArray, IntArray
from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import ModelFacts
from model_core.columns import Columns, Field
from model_core.compiled import address
from model_core.compiled import corrector as kernel
from model_core.ladder import ISSUING
from model_core.scoring import SCORED
from model_core.spec import StreamSpec

FEATURES = 4
FAR = 6  # ticks that the longer of both differences spans
SUMS = FEATURES * (FEATURES + 1) // 2 + FEATURES + 2  # X'X, X'e, absolute errors without and with the correction
ENTRY = FEATURES + 3  # features, location, unit, correction in units
HALF_LIFE_SEASONS = 10
PENALTY = 10.0  # of squared weights, in squared units: as many ticks on which a feature has its usual size
WINSOR = 6.0  # of features, in units; of errors twice that
MARGIN = 0.04  # by which a correction must have been better to count in full
UNIT_MIN = 1e-9


def corrected_horizons(spec: StreamSpec) -> tuple[int, ...]:
    """The scored horizons that are corrected; none if the corrector is off, or for demand, whose means must add up."""
    if spec.context_length <= FAR or spec.is_demand:
        return ()
    return tuple(h for h in spec.scored_horizons if h <= spec.corrector_steps)


def corrector_fields(spec: StreamSpec) -> tuple[Field, ...]:
    """Sums of each corrected horizon, and what waits for its target: as many slots a horizon as in the ledger."""
    horizons = corrected_horizons(spec)
    if not horizons:
        return ()
    rows = int(_slots(spec).sum())
    return (
        Field("corrector", np.float32, inner=(len(horizons), SUMS), group=SCORED),
        Field("corrector_width", np.float32, inner=(len(spec.scored_horizons),), fill=1.0, group=ISSUING),
        Field("corrector_moved", np.float64, group=ISSUING),  # by how much the newest location a step ahead was moved
        Field("corrections", np.float32, rows=rows, inner=(ENTRY,), fill=np.nan, slots=True),
    )


def _slots(spec: StreamSpec) -> IntArray:
    return np.array([-(-h // spec.forecast_every) for h in corrected_horizons(spec)], np.int64)


class Corrector:
    """The corrections of one partition's series. All of its state is in the columns."""

    def __init__(self, spec: StreamSpec, columns: Columns, facts: ModelFacts, unit_floor_share: float) -> None:
        horizons, slots = np.array(corrected_horizons(spec), np.int64), _slots(spec)
        self.on = len(horizons) > 0
        self._columns = columns
        self._every = spec.forecast_every
        self._growths = -1
        self._kept: list[AnyArray] = [horizons, np.cumsum(slots) - slots, slots]
        self._answers: list[AnyArray] = []
        self._struct = struct = kernel.Corrector()
        self._address = ctypes.addressof(struct)
        assert len(horizons) <= kernel.HORIZONS_MAX, "corrector.c has no room for so many horizons"
        struct.C, struct.K = len(horizons), len(spec.scored_horizons)
        struct.H, struct.L = spec.horizon, spec.context_length
        struct.every, struct.rows, struct.far = spec.forecast_every, int(slots.sum()), FAR
        struct.penalty, struct.winsor, struct.margin = PENALTY, WINSOR, MARGIN
        struct.unit_floor_share, struct.unit_min = unit_floor_share, UNIT_MIN
        for name, array in zip(("horizons", "first_slot", "slot_count"), self._kept, strict=True):
            setattr(struct, name, address(array, np.int64))
        self._take_facts(facts)

    def _take_facts(self, facts: ModelFacts) -> None:
        self._version = facts.version
        self._struct.decay = 0.5 ** (self._every / (HALF_LIFE_SEASONS * facts.season))

    @property
    def _at_work(self) -> bool:
        return self.on and self._version is not None

    def swap(self, facts: ModelFacts) -> None:
        """Another model takes charge: forget what was learned about the errors of the one before."""
        changed = facts.version != self._version
        self._take_facts(facts)
        if changed:
            self.begin()

    def begin(self) -> None:
        """Nothing is known yet about the model's errors."""
        if not self.on:
            return
        self._columns.arrays["corrector"][...] = 0.0
        self._columns.arrays["corrector_width"][...] = 1.0
        self._columns.arrays["corrector_moved"][...] = 0.0
        everyone = np.arange(self._columns.used)
        for group in (SCORED, ISSUING):
            self._columns.touch_hot(everyone, group)
        self.drop(everyone)

    def drop(self, index: IntArray) -> None:
        """Forget what waits for its target in these columns."""
        if not self.on:
            return
        self._columns.arrays["corrections"][index >> 8, :, index & 255] = np.nan
        for row in range(self._columns.fields["corrections"].rows):
            self._columns.touch("corrections", index, row)

    def take_answers(self, raw: RawForecast, windows: WindowBatch) -> RawForecast:
        """The answers of a poll in arrays of their own, which `correct` will change."""
        if not self._at_work:
            return raw
        locations = np.array(raw.locations, np.float64, order="C")
        self._answers = [
            locations,
            np.ascontiguousarray(raw.reason),
            np.ascontiguousarray(windows.scale[:, 0]),
            np.ascontiguousarray(windows.windows),
        ]
        struct = self._struct
        struct.W = windows.windows.shape[2]
        for name, array in zip(("locations", "reason", "scale", "windows"), self._answers, strict=True):
            setattr(struct, name, address(array, array.dtype.type))
        return replace(raw, locations=locations)

    def correct(self, start: int, index: IntArray, origins: IntArray, settled: IntArray) -> None:
        """Move the answers at `start` and after: forecasts [d] of distinct columns. `settled` as in Wave."""
        if self._at_work:
            arrays = (address(array, np.int64) for array in (index, origins, settled))
            kernel.correct(len(index), self._bind(), start, *arrays)

    def learn(self, index: IntArray, ticks: IntArray, values: AnyArray) -> None:
        """Cells [n] of distinct columns settle; values float64, NaN where missing."""
        if self._at_work:
            cells = (address(index, np.int64), address(ticks, np.int64), address(values, np.float64))
            kernel.learn(len(index), self._bind(), *cells)

    def _bind(self) -> int:
        columns, struct = self._columns, self._struct
        if columns.growths != self._growths:
            struct.unit = address(columns.flat("unit"), np.float64)
            struct.sums = address(columns.flat("corrector"), np.float32)
            struct.widths = address(columns.flat("corrector_width"), np.float32)
            struct.moved = address(columns.flat("corrector_moved"), np.float64)
            struct.entries = address(columns.arrays["corrections"], np.float32)
            struct.sums_marks = address(columns.touched_group(SCORED), np.uint8)
            struct.entries_marks = address(columns.touched("corrections"), np.uint8)
            self._growths = columns.growths
        return self._address
