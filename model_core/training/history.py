"""History: the settled cells of a stream's series by tick, and the readings on their way to become that.

Cells come through the same readiness as in the worker, so that a model learns from what it will be shown. Cells that
are no longer looked at one by one are forgotten; what their windows taught is kept as sums (past.py).
"""

import json
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.columns import BLOCK, Columns, Piece
from model_core.outcomes import Observed, WaveKind
from model_core.readiness import Readiness
from model_core.readings import Readings
from model_core.scaler import FIELDS as SCALER_FIELDS
from model_core.spec import StreamSpec
from model_core.windows import window_fields

if TYPE_CHECKING:
    from model_core.training.past import Past

PAGE = 1024  # ticks that are allocated, and forgotten, together
TICKS_MAX = 500_000
WINDOWS_MAX = 8192
_NEVER_WARM = 2**40
_SILENT_FOREVER_MS = 2**52
_RING = "ring"  # what windows are cut from: nobody cuts any here


class CellHistory:
    """Cells of all series of a stream by tick; the oldest pages go when there are more than `ticks_max` ticks."""

    def __init__(self, ticks_max: int = TICKS_MAX) -> None:
        self.series_ids: list[str] = []
        self.index: dict[str, int] = {}
        self._pages: dict[int, FloatArray] = {}  # page → float32 [PAGE, series], NaN where missing
        self._pages_max = -(-ticks_max // PAGE) + 1
        self._first, self._last = 2**62, -(2**62)
        self.kept_from = -(2**62)  # cells before this tick are forgotten
        self.past: Past | None = None  # of windows whose cells may be forgotten
        # float64 [series, 4], the running scaler (scaler.py) of covariates before the first cell; None: nothing was.
        self.scaler: FloatArray | None = None

    def __len__(self) -> int:
        """Ticks from the first to the last, gaps included."""
        return max(0, self._last - self.first_tick + 1)

    @property
    def first_tick(self) -> int:
        return max(self._first, min(self._pages, default=0) * PAGE)

    @property
    def last_tick(self) -> int:
        return self._last

    def values(self) -> FloatArray:
        """float32 [ticks, series], NaN where a cell is missing; row 0 is `first_tick`. A copy."""
        first = self.first_tick
        cells = np.full((len(self), len(self.series_ids)), np.nan, np.float32)
        for number, page in self._pages.items():
            start = number * PAGE - first
            rows = slice(max(start, 0), min(start + PAGE, len(cells)))
            cells[rows, : page.shape[1]] = page[rows.start - start : rows.stop - start, : cells.shape[1]]
        return cells

    @classmethod
    def of_values(cls, series_ids: list[str], first_tick: int, values: FloatArray, kept_from: int) -> "CellHistory":
        """The history whose `series_ids`, `first_tick`, `values()` and `kept_from` these are."""
        history = cls()
        columns = history.columns_of(series_ids)
        for start in range(0, len(values), PAGE):
            rows = values[start : start + PAGE]
            ticks = np.repeat(np.arange(start, start + len(rows)) + first_tick, len(columns))
            history.put(np.tile(columns, len(rows)), ticks, rows.reshape(-1))
        history.kept_from = kept_from
        return history

    def columns_of(self, series_ids: list[str]) -> IntArray:
        """int64 [n]; unknown series get a column."""
        for series_id in series_ids:
            if series_id not in self.index:
                self.index[series_id] = len(self.series_ids)
                self.series_ids.append(series_id)
        return np.fromiter(map(self.index.__getitem__, series_ids), np.int64, len(series_ids))

    def put(self, columns: IntArray, ticks: IntArray, values: AnyArray) -> None:
        """Cells [n]; of a repeated cell the last counts."""
        kept = ticks >= self.kept_from
        if not kept.all():
            columns, ticks, values = columns[kept], ticks[kept], values[kept]
        if not len(ticks):
            return
        numbers = ticks // PAGE
        for number in np.unique(numbers).tolist():
            mine = numbers == number
            self._page(number)[ticks[mine] % PAGE, columns[mine]] = values[mine]
        self._first, self._last = min(self._first, int(ticks.min())), max(self._last, int(ticks.max()))
        while len(self._pages) > self._pages_max:
            del self._pages[min(self._pages)]

    def forget(self, before: int, past: "Past", scaler: FloatArray | None) -> None:
        """Cells of ticks before this one go; `past` and `scaler` as above stand for them. Later ones for them too."""
        self.past, self.scaler = past, scaler
        self.kept_from, self._first = before, max(self._first, before)
        for number in [number for number in self._pages if (number + 1) * PAGE <= before]:
            del self._pages[number]

    def copy(self) -> "CellHistory":
        """A copy that may forget on its own. No cells may be put into either afterwards."""
        other = copy(self)
        other._pages = dict(self._pages)
        return other

    def erase(self, series_id: str) -> None:
        """Forget a deleted series: nothing is learned from it."""
        column = self.index.get(series_id)
        for page in self._pages.values():
            if column is not None and column < page.shape[1]:
                page[:, column] = np.nan

    def _page(self, number: int) -> FloatArray:
        page = self._pages.get(number)
        if page is None or page.shape[1] < len(self.series_ids):
            wide = np.full((PAGE, max(16, len(self.series_ids) * 5 // 4)), np.nan, np.float32)
            if page is not None:
                wide[:, : page.shape[1]] = page
            page = self._pages[number] = wide
        return page


class HistoryFeed:
    """Readings of all partitions of a stream → settled cells. The first settled value counts, as in scoring."""

    def __init__(self, spec: StreamSpec, history: CellHistory) -> None:
        # Nothing is due while history is read, and a series that fell silent stays: neither matters to its cells.
        self._spec = spec.model_copy(update={"min_readings": _NEVER_WARM, "forget_after": _SILENT_FOREVER_MS})
        self._history = history
        self._partitions: dict[int, Readiness] = {}
        self._columns: dict[int, IntArray] = {}  # partition → column of the history of each of its columns
        self.rejected = 0

    def take(self, partition: int, readings: Readings) -> None:
        """Readings of one partition, in log order."""
        if partition not in self._partitions:
            self._partitions[partition] = Readiness(self._spec, self._no_columns())
        self._keep_known(readings)
        for observed in self._partitions[partition].observe(readings, WINDOWS_MAX):
            self._keep(partition, observed)
        for _, series_id in readings.deletions:
            self._history.erase(series_id)

    def finish(self) -> None:
        """The log is at its end: settle what is still open."""
        for partition, readiness in self._partitions.items():
            for observed in readiness.close_idle(WINDOWS_MAX):
                self._keep(partition, observed)

    def _no_columns(self) -> Columns:
        return Columns((*window_fields(self._spec), *SCALER_FIELDS))

    # --- snapshot ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[dict[str, Any], dict[str, AnyArray]]:
        """What is still open: (JSON values, arrays), all that a feed needs to go on from here."""
        meta: dict[str, Any] = {"rejected": self.rejected, "partitions": {}}
        arrays = {}
        for partition, readiness in self._partitions.items():
            columns = readiness.columns
            meta["partitions"][str(partition)] = {
                "ids": columns.ids,
                "closed": readiness.cells.closed,
                "clock": readiness.clock.snapshot(),
                "seen": readiness.seen.tolist(),
            }
            for name in columns.fields.keys() - {_RING}:
                arrays[f"{partition}/{name}"] = columns.arrays[name][: columns.blocks]
        return meta, arrays

    def restore(self, meta: dict[str, Any], arrays: dict[str, AnyArray]) -> None:
        """Go on from a snapshot. LayoutMismatch when the arrays are not those of this code."""
        self.rejected = meta["rejected"]
        for partition, kept in meta["partitions"].items():
            columns = self._no_columns()
            ids = [
                json.dumps(kept["ids"][first : first + BLOCK]).encode() for first in range(0, len(kept["ids"]), BLOCK)
            ]
            found = {name: arrays[f"{partition}/{name}"] for name in columns.fields.keys() - {_RING}}
            columns.load(ids, [Piece(name, 0, 0, array.tobytes()) for name, array in found.items()])
            readiness = self._partitions[int(partition)] = Readiness(self._spec, columns)
            readiness.cells.closed = kept["closed"]
            readiness.clock.restore(kept["clock"])
            readiness.seen = np.array(kept["seen"], np.int64).reshape(-1, 2)

    # --- cells ------------------------------------------------------------------------------------------------------

    def _keep(self, partition: int, observed: Observed) -> None:
        self.rejected += len(observed.rejected)
        columns = self._partitions[partition].columns
        known = self._columns.get(partition, np.empty(0, np.int64))
        if len(known) < columns.used:
            fresh = self._history.columns_of([name or "" for name in columns.ids[len(known) :]])
            known = self._columns[partition] = np.concatenate([known, fresh])
        for wave in observed.waves:
            if wave.kind is WaveKind.SETTLED:
                self._history.put(known[wave.columns], wave.ticks, wave.values)

    def _keep_known(self, readings: Readings) -> None:
        """Future covariates never settle: the newest value of a tick counts."""
        if not self._spec.future_covariates:
            return
        future = np.array(
            [self._spec.role(self._spec.split(name)[1]) == "future" for name in readings.series_ids], bool
        )
        columns = self._history.columns_of(
            [name for name, is_future in zip(readings.series_ids, future, strict=True) if is_future]
        )
        ticks = self._spec.grid.ticks(readings.timestamps_ms[future])
        self._history.put(columns, ticks, readings.values[future])
