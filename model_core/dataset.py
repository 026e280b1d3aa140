"""History: settled cells as one dense matrix, and windows cut from it in the layout in which the worker cuts them.

Cells come through the same readiness as in the worker, so that a model learns from what it will be shown. Windows are
made a chunk at a time; all of them at once would be L times the history.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.batches import WindowBatch
from model_core.cells import SCALER_HALF_LIVES
from model_core.columns import Columns
from model_core.outcomes import Observed, WaveKind
from model_core.readiness import Readiness
from model_core.readings import Readings
from model_core.scaler import FIELDS as SCALER_FIELDS
from model_core.scaler import half_life_decay, read_scaler, update_scaler
from model_core.spec import StreamSpec
from model_core.windows import ROLE_CODES, column_settings, window_fields

PAGE = 1024  # ticks that are allocated, and forgotten, together
WINDOWS_MAX = 8192
_TARGET = ROLE_CODES["target"]
_NEVER_WARM = 2**40
_SILENT_FOREVER_MS = 2**52


class CellHistory:
    """Cells of all series of a stream by tick; the oldest pages go when there are more than `ticks_max` ticks."""

    def __init__(self, ticks_max: int = 500_000) -> None:
        self.series_ids: list[str] = []
        self.index: dict[str, int] = {}
        self._pages: dict[int, FloatArray] = {}  # page → float32 [PAGE, series], NaN where missing
        self._pages_max = -(-ticks_max // PAGE) + 1
        self._first, self._last = 2**62, -(2**62)

    def __len__(self) -> int:
        """Ticks from the first to the last, gaps included."""
        return max(0, self._last - self.first_tick + 1)

    @property
    def first_tick(self) -> int:
        return max(self._first, min(self._pages, default=0) * PAGE)

    def values(self) -> FloatArray:
        """float32 [ticks, series], NaN where a cell is missing; row 0 is `first_tick`. A copy."""
        first = self.first_tick
        cells = np.full((len(self), len(self.series_ids)), np.nan, np.float32)
        for number, page in self._pages.items():
            start = number * PAGE - first
            rows = slice(max(start, 0), min(start + PAGE, len(cells)))
            cells[rows, : page.shape[1]] = page[rows.start - start : rows.stop - start, : cells.shape[1]]
        return cells

    def columns_of(self, series_ids: list[str]) -> IntArray:
        """int64 [n]; unknown series get a column."""
        for series_id in series_ids:
            if series_id not in self.index:
                self.index[series_id] = len(self.series_ids)
                self.series_ids.append(series_id)
        return np.fromiter(map(self.index.__getitem__, series_ids), np.int64, len(series_ids))

    def put(self, columns: IntArray, ticks: IntArray, values: AnyArray) -> None:
        """Cells [n]; of a repeated cell the last counts."""
        if not len(ticks):
            return
        numbers = ticks // PAGE
        for number in np.unique(numbers).tolist():
            mine = numbers == number
            self._page(number)[ticks[mine] % PAGE, columns[mine]] = values[mine]
        self._first, self._last = min(self._first, int(ticks.min())), max(self._last, int(ticks.max()))
        while len(self._pages) > self._pages_max:
            del self._pages[min(self._pages)]

    def erase(self, series_id: str) -> None:
        """A deleted series leaves nothing to learn from."""
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
            fields = (*window_fields(self._spec), *SCALER_FIELDS)
            self._partitions[partition] = Readiness(self._spec, Columns(fields))
        self._keep_known(readings)
        for observed in self._partitions[partition].observe(readings, WINDOWS_MAX):
            self._keep(partition, observed)
        for _, series_id in readings.deletions:
            self._history.erase(series_id)

    def finish(self) -> None:
        """The end of the log: what is still open settles."""
        for partition, readiness in self._partitions.items():
            for observed in readiness.close_idle(WINDOWS_MAX):
                self._keep(partition, observed)

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


class TrainingWindows:
    """Windows of the target series of a history. S series, L context, H horizon, C covariates, F of them future."""

    def __init__(self, spec: StreamSpec, history: CellHistory) -> None:
        values = history.values()
        self.spec = spec
        self.first_tick, self.ticks = history.first_tick, len(values)
        names = history.series_ids
        settings = [column_settings(spec, name) for name in names]
        kept = [c for c, setting in enumerate(settings) if setting[2] == _TARGET and np.isfinite(values[:, c]).any()]
        self.series_ids = [names[c] for c in kept]
        self.fill = np.array([settings[c][1] for c in kept], np.int8)
        self.bounds = np.array([settings[c][3:] for c in kept], np.float64).reshape(-1, 2)  # [S, 2]
        self._before = max(spec.context_length, spec.longest_season)
        pad = ((0, 0), (self._before, spec.horizon))
        # Series by series, so that a window is one run of memory; NaN beyond both ends.
        self._cells = np.pad(values.T, pad, constant_values=np.nan)
        self._target = np.array(kept, np.int64)
        self._partners = self._find_partners(names, history.index)
        self._scaler = self._run_scaler() if self._partners.size else np.zeros((0, 0, 2), np.float32)

    def __len__(self) -> int:
        """Target series."""
        return len(self.series_ids)

    def target_cells(self) -> FloatArray:
        """float32 [S, ticks]."""
        return self._cells[self._target, self._before : self._before + self.ticks]

    def spreads(self) -> FloatArray:
        """float64 [S], standard deviation of each series over the history."""
        cells = self.target_cells().astype(np.float64)
        seen = np.isfinite(cells)
        count = np.maximum(seen.sum(axis=1), 1)
        mean = np.where(seen, cells, 0.0).sum(axis=1) / count
        deviation = np.where(seen, cells - mean[:, None], 0.0)
        return np.sqrt((deviation**2).sum(axis=1) / count)

    def first_origin(self) -> int:
        """The first row with a whole context behind it."""
        return self.spec.context_length - 1

    def batch(self, series: IntArray, origins: IntArray, season: int) -> WindowBatch:
        """Windows of series [n] at origins [n] (rows of the history), with the last `season` cells."""
        length, horizon = self.spec.context_length, self.spec.horizon
        future = len(self.spec.future_covariates)
        own, partners = self._target[series], self._partners[series]  # [n], [n, C]
        columns = np.concatenate([own[:, None], partners], axis=1)
        windows = np.stack([self._spans(c, origins + 1 - length, length) for c in columns.T], axis=2)
        ahead = [self._spans(c, origins + 1, horizon) for c in partners.T[partners.shape[1] - future :]]
        known = np.stack(ahead, axis=2) if ahead else np.zeros((len(series), horizon, 0), np.float32)
        center, scale = np.zeros(columns.shape), np.zeros(columns.shape)
        if partners.shape[1]:
            safe = np.maximum(partners, 0)
            there = (partners >= 0)[..., None]
            running = np.where(there, self._scaler[safe, origins[:, None]], 0.0)
            center[:, 1:], scale[:, 1:] = running[..., 0], running[..., 1]
        return WindowBatch(
            windows=windows,
            known=known,
            season=self._spans(own, origins + 1 - season, season),
            origins=origins + self.first_tick,
            center=center,
            scale=scale,
            level=np.zeros(len(series)),
            fill=self.fill[series],
            readings=np.full(len(series), length, np.int64),
        )

    def targets(self, series: IntArray, origins: IntArray) -> FloatArray:
        """float64 [n, H], what came after each origin; NaN where missing."""
        return self._spans(self._target[series], origins + 1, self.spec.horizon).astype(np.float64)

    def _spans(self, columns: IntArray, starts: IntArray, width: int) -> FloatArray:
        """float32 [n, width]: cells of each column from row `starts`; a negative column is NaN."""
        views = sliding_window_view(self._cells, width, axis=1)
        spans = views[np.maximum(columns, 0), starts + self._before]
        spans[columns < 0] = np.nan
        return spans

    def _find_partners(self, names: list[str], index: dict[str, int]) -> IntArray:
        """int64 [S, C]: the columns of each target's covariates, -1 where its entity has none."""
        wanted = self.spec.past_covariates + self.spec.future_covariates
        by_parts = {self.spec.split(name): index[name] for name in names} if wanted else {}
        return np.array(
            [
                [by_parts.get((self.spec.split(name)[0], variable), -1) for variable in wanted]
                for name in self.series_ids
            ],
            np.int64,
        ).reshape(len(self.series_ids), len(wanted))

    def _run_scaler(self) -> FloatArray:
        """float32 [series, ticks, 2]: running mean and standard deviation of the covariates after each tick."""
        columns = Columns(SCALER_FIELDS)
        used = np.unique(self._partners[self._partners >= 0])
        slots = columns.add([str(column) for column in used])
        decay = half_life_decay(SCALER_HALF_LIVES * self.spec.context_length)
        running = np.zeros((len(self._cells), self.ticks, 2), np.float32)
        for row in range(self.ticks):
            cells = self._cells[used, self._before + row].astype(np.float64)
            present = np.isfinite(cells)
            update_scaler(columns, slots[present], cells[present], decay, decay)
            mean, spread, _ = read_scaler(columns, slots)
            running[used, row, 0], running[used, row, 1] = mean, spread
        return running


def origin_chunks(
    series: int, first: int, last: int, stride: int, rows_max: int
) -> Iterator[tuple[IntArray, IntArray]]:
    """(series [n], origins [n]) in chunks of about `rows_max`, every `stride`-th origin of [first, last) of each.

    Each series starts at another origin, so that every hour of the day is seen whatever the stride.
    """
    per_chunk = max(1, rows_max * stride // max(series, 1))
    every = np.arange(series)
    for start in range(first, last, per_chunk):
        origins = np.arange(start, min(start + per_chunk, last))
        taken = (origins[:, None] + every) % stride == 0
        rows, chosen = np.nonzero(taken)
        if len(rows):
            yield chosen.astype(np.int64), origins[rows]
