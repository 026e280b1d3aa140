"""Windows cut from the cells of a history, as one dense matrix, in the layout that the worker uses.

They are made a chunk at a time: all of them at once would be L times the history.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from model_core.arrays import FloatArray, IntArray
from model_core.batches import WindowBatch
from model_core.cells import SCALER_HALF_LIVES
from model_core.columns import Columns
from model_core.scaler import FIELDS as SCALER_FIELDS
from model_core.scaler import half_life_decay, read_scaler, update_scaler
from model_core.spec import StreamSpec
from model_core.training.history import PAGE, CellHistory
from model_core.windows import ROLE_CODES, column_settings

_TARGET = ROLE_CODES["target"]


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
        self._scaler_before = history.scaler
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
        """The first row with a whole context before it."""
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

    @property
    def columns(self) -> IntArray:
        """int64 [S]: the column of each series in the history, even if others have fallen silent since."""
        return self._target

    def scaler_at(self, row: int) -> FloatArray | None:
        """float64 [series of the history, 4]: the covariates' running scaler before that row; None: no covariates."""
        if not self._partners.size:
            return None
        columns, slots, used = self._scaler_columns()
        for _ in self._scaled_rows(columns, slots, used, row):
            pass
        state = np.zeros((len(self._cells), 4))
        if self._scaler_before is not None:  # of those that have fallen silent
            state[: len(self._scaler_before)] = self._scaler_before
        state[used] = columns.flat("scaler")[slots]
        return state

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
        columns, slots, used = self._scaler_columns()
        running = np.zeros((len(self._cells), self.ticks, 2), np.float32)
        for row in self._scaled_rows(columns, slots, used, self.ticks):
            mean, spread, _ = read_scaler(columns, slots)
            running[used, row, 0], running[used, row, 1] = mean, spread
        return running

    def _scaler_columns(self) -> tuple[Columns, IntArray, IntArray]:
        """(scalers as they stood before the first row, where they are [n], of which series of the history [n])."""
        columns = Columns(SCALER_FIELDS)
        used = np.unique(self._partners[self._partners >= 0])
        slots = columns.add([str(column) for column in used])
        if self._scaler_before is not None:
            known = used < len(self._scaler_before)
            columns.flat("scaler")[slots[known]] = self._scaler_before[used[known]]
        return columns, slots, used

    def _scaled_rows(self, columns: Columns, slots: IntArray, used: IntArray, end: int) -> Iterator[int]:
        """Rows up to `end`, the scalers taken through each."""
        decay = half_life_decay(SCALER_HALF_LIVES * self.spec.context_length)
        for row in range(end):
            cells = self._cells[used, self._before + row].astype(np.float64)
            present = np.isfinite(cells)
            update_scaler(columns, slots[present], cells[present], decay, decay)
            yield row


def origin_chunks(
    series: int | IntArray, first: int, last: int, stride: int, rows_max: int, *, first_tick: int = 0
) -> Iterator[tuple[IntArray, IntArray]]:
    """(series [n], origins [n]) in chunks of about `rows_max`, every `stride`-th origin of [first, last) of each.

    Each series starts at another origin, so that every hour of the day is seen whatever the stride. With the ticks of
    the rows and a number of each series [S] that stay what they are, so do the windows that are taken and the edges of
    chunks, wherever a span begins: a chunk is a power of two of ticks, at most a page.
    """
    every = np.arange(series) if isinstance(series, int) else series
    fit = max(1, rows_max * stride // max(len(every), 1))
    per_chunk = min(PAGE, 1 << (fit.bit_length() - 1))
    while first < last:
        end = min(last, first + per_chunk - (first + first_tick) % per_chunk)
        origins = np.arange(first, end)
        taken = ((origins + first_tick)[:, None] + every) % stride == 0
        rows, chosen = np.nonzero(taken)
        if len(rows):
            yield chosen.astype(np.int64), origins[rows]
        first = end
