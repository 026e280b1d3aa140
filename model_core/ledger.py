"""The ledger: quantiles that were issued and still wait for their actual value, at the scored horizons.

A scored horizon h needs ceil(h / forecast_every) slots: the forecast of origin o lies in slot (o / forecast_every) mod
that number until its target o + h is settled, and is then taken out. A slot holds all tracked rungs side by side; where
the level answered, which is not tracked, its quantiles lie in the model's place, and the rung's code says so.
"""

import numpy as np

from model_core.arrays import AnyArray, BoolArray, CodeArray, IntArray
from model_core.columns import Columns, Field
from model_core.ladder import TRACKED_RUNGS
from model_core.spec import StreamSpec

NOT_ISSUED = -1


def ledger_fields(spec: StreamSpec) -> tuple[Field, ...]:
    rows = int(_slots(spec).sum())
    return (
        Field(
            "issued", np.float32, rows=rows, inner=(TRACKED_RUNGS, len(spec.quantile_levels)), fill=np.nan, slots=True
        ),
        Field("issued_rung", np.int8, rows=rows, fill=NOT_ISSUED, slots=True),
    )


def _slots(spec: StreamSpec) -> IntArray:
    return np.array([-(-h // spec.forecast_every) for h in spec.scored_horizons], np.int64)


class Ledger:
    """Puts issued quantiles in and takes them out when their target is settled."""

    def __init__(self, spec: StreamSpec, columns: Columns) -> None:
        self._columns = columns
        self._every = spec.forecast_every
        self._horizons = np.array(spec.scored_horizons, np.int64)
        self._count = _slots(spec)  # [K]
        self._first = np.concatenate(([0], np.cumsum(self._count)[:-1]))  # [K], first slot of each horizon

    def put(
        self, index: IntArray, origins: IntArray, settled: IntArray, quantiles: AnyArray, rungs: CodeArray | IntArray
    ) -> None:
        """Enter forecasts [d]: quantiles float32 [d, K, 3, Q]. Targets up to `settled` [d] have had their score."""
        slots = self._first + (origins[:, None] // self._every) % self._count  # [d, K]
        waiting = origins[:, None] + self._horizons > settled[:, None]
        row, horizon = np.nonzero(waiting)
        columns, slots = index[row], slots[row, horizon]
        blocks, offsets = columns >> 8, columns & 255
        self._columns.arrays["issued"][blocks, slots, offsets] = quantiles[row, horizon]
        self._columns.arrays["issued_rung"][blocks, slots, offsets] = rungs[row]
        self._touch(columns, slots)

    def due(self, ticks: IntArray) -> IntArray:
        """Positions of the scored horizons at which a forecast can have been issued for any of these targets [n]."""
        first = ticks[:1]
        if (ticks == first).all():
            ticks = first  # the common case: all series settle the same tick
        return np.flatnonzero(((ticks[:, None] - self._horizons) % self._every == 0).any(axis=0))

    def take(
        self, index: IntArray, ticks: IntArray, horizons: IntArray | None = None
    ) -> tuple[AnyArray, AnyArray, BoolArray]:
        """Take out what was issued for the targets (index, ticks) [n], at K of the scored horizons (`due`) or at all.

        Returns quantiles float32 [n, K, 3, Q] (NaN: none), rungs int8 [n, K] (NOT_ISSUED: none) and which are there.
        """
        every = slice(None) if horizons is None else horizons
        origins = ticks[:, None] - self._horizons[every]  # [n, K]
        on_time = origins % self._every == 0
        slots = self._first[every] + (origins // self._every) % self._count[every]
        blocks, offsets = (index >> 8)[:, None], (index & 255)[:, None]
        rungs = np.where(on_time, self._columns.arrays["issued_rung"][blocks, slots, offsets], NOT_ISSUED)
        there = rungs != NOT_ISSUED
        quantiles = self._columns.arrays["issued"][blocks, slots, offsets]
        if there.any():
            row, horizon = np.nonzero(there)
            self._columns.arrays["issued_rung"][index[row] >> 8, slots[row, horizon], index[row] & 255] = NOT_ISSUED
            self._touch(index[row], slots[row, horizon])
        return quantiles, rungs, there

    def drop(self, index: IntArray) -> None:
        """Nothing that was issued for these columns will be scored any more."""
        self._columns.arrays["issued_rung"][index >> 8, :, index & 255] = NOT_ISSUED
        slots = np.arange(int(self._count.sum()))
        for block in np.unique(index >> 8).tolist():
            self._columns.touch("issued_rung", np.full(len(slots), block << 8), slots)

    def _touch(self, index: IntArray, slots: IntArray) -> None:
        self._columns.touch("issued", index, slots)
        self._columns.touch("issued_rung", index, slots)
