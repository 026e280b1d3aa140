"""Settlement: phase C of a partition, tick by tick: score what was issued, learn from it, then issue what is due.

It reads nothing that phase A (readiness) writes but what the waves and windows carry, so that the result does not
depend on how far phase A has read ahead.
"""

from dataclasses import dataclass, field

import numpy as np

from model_core.arrays import AnyArray, BoolArray, IntArray
from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import ModelFacts
from model_core.calibration import Calibration, calibration_fields
from model_core.columns import Columns, Field
from model_core.drift.cusum import FIELDS as CUSUM_FIELDS
from model_core.drift.cusum import Cusum
from model_core.drift.pit import PitHistogram, pit_fields
from model_core.ladder import LADDER_FIELDS, LEVEL_WIDTH, TRACKED_RUNGS, Ladder, Rung
from model_core.ledger import Ledger, ledger_fields
from model_core.outcomes import DriftRecord, Forecasts, Observed, Outcome, Scored, Summaries, Wave, WaveKind
from model_core.quantiles import Levels, covered, pinball
from model_core.scoring import Scoring, scoring_fields
from model_core.spec import StreamSpec


def settlement_fields(spec: StreamSpec) -> tuple[Field, ...]:
    return (
        *ledger_fields(spec),
        *calibration_fields(spec),
        *scoring_fields(spec),
        *LADDER_FIELDS,
        *CUSUM_FIELDS,
        *pit_fields(len(spec.quantile_levels)),
    )


@dataclass
class _Answers:
    """Parts of an Outcome as they come, wave by wave."""

    ids: list[str] = field(default_factory=list)
    forecasts: list[tuple[AnyArray, ...]] = field(default_factory=list)
    scored_ids: list[str] = field(default_factory=list)
    scored: list[tuple[AnyArray, ...]] = field(default_factory=list)
    summary_ids: list[str] = field(default_factory=list)
    summaries: list[tuple[AnyArray, ...]] = field(default_factory=list)
    drift: list[DriftRecord] = field(default_factory=list)


class Settlement:
    """State beside its columns: the cohort's offsets (in `calibration`) and when drift was last reported."""

    def __init__(self, spec: StreamSpec, columns: Columns, partition: int, facts: ModelFacts) -> None:
        self._spec = spec
        self._columns = columns
        self._partition = partition
        self._levels = Levels(spec)
        self._targets_only = not (spec.targets or spec.past_covariates or spec.future_covariates)
        self.calibration = Calibration(spec, columns, self._levels, facts)
        self._ledger = Ledger(spec, columns)
        self._scoring = Scoring(spec, columns, self._levels)
        self._ladder = Ladder(columns)
        self._cusum = Cusum(columns, facts.cusum_threshold, facts.season)
        self._pit = PitHistogram(columns, self._levels.levels)
        self._season = facts.season
        self.reported = -(2**62)  # the report period that the last drift summary was for
        self._bits = 1 << np.arange(len(self._levels.intervals))

    def swap(self, facts: ModelFacts) -> None:
        """Another model is in charge from the next forecast on."""
        self.calibration.swap(facts)
        self._cusum.threshold, self._cusum.rest_ticks = facts.cusum_threshold, facts.season
        self._season = facts.season

    def settle_and_issue(self, observed: Observed, raw: RawForecast | None) -> Outcome:
        """Take the waves in order; `raw` has one row for each of `observed.windows`."""
        out, start = _Answers(), 0
        for wave in observed.waves:
            self._close(wave, out)
            if wave.kind is WaveKind.SKIPPED:
                self._ledger.drop(wave.columns)
            elif wave.kind is WaveKind.SETTLED:
                self._settle(wave, out)
            if len(wave.due):
                assert raw is not None, "windows were gathered for this wave"
                assert observed.windows is not None, "windows were gathered for this wave"
                rows = slice(start, start + len(wave.due))
                self._issue(wave, observed.windows, raw, rows, out)
                start += len(wave.due)
        return _outcome(self._spec, out, observed)

    # --- what was issued meets its actual value ---------------------------------------------------------------------

    def _settle(self, wave: Wave, out: _Answers) -> None:
        index, ticks, actual, offsets, change = wave.columns, wave.ticks, wave.values, wave.offsets, wave.season_change
        if not self._targets_only:
            target = self._columns.flat("role")[index] == 0
            index, ticks, actual, offsets, change = (a[target] for a in (index, ticks, actual, offsets, change))
        decay = self.calibration.decay
        self._scoring.season_change(index, change, decay)
        self._columns.touch_hot(index)
        due = self._ledger.due(ticks)  # K of the scored horizons; with forecast_every most have nothing at most ticks
        if not len(due):
            return
        quantiles, rungs, there = self._ledger.take(index, ticks, due)
        some = there.any(axis=1)
        if not some.any():
            return
        if not some.all():
            index, ticks, actual, offsets = index[some], ticks[some], actual[some], offsets[some]
            quantiles, rungs, there = quantiles[some], rungs[some], there[some]
        tracked = np.isfinite(quantiles[..., self._levels.median]) & there[..., None]  # [n, K, 3]
        tracked[..., Rung.MODEL] &= rungs != Rung.LEVEL
        present = np.isfinite(actual)
        # Windows hold float32, so that is what a forecast can hit; a constant 21.3 would be missed for ever otherwise.
        seen = actual.astype(np.float32).astype(np.float64)
        issued = self._issued(quantiles, rungs)  # [n, K, Q]
        loss = pinball(seen[:, None, None], quantiles, self._levels.levels)  # [n, K, 3]
        issued_loss = pinball(seen[:, None], issued, self._levels.levels)  # [n, K]
        error = seen[:, None] - issued[..., self._levels.median]
        inside = covered(seen[:, None], issued, self._levels.intervals)  # [n, K, I]
        valid = there & present[:, None]
        tracked &= present[:, None, None]
        if present.any():
            every = np.concatenate([loss, issued_loss[..., None]], axis=2)
            self._scoring.losses(index, every, np.concatenate([tracked, valid[..., None]], axis=2), decay)
            self._scoring.issued(index, error, inside, valid, decay)
            frozen = np.zeros((len(index), TRACKED_RUNGS), bool)
            if due[0] == 0:  # the first scored horizon is one step
                frozen = self._watch(index, ticks, seen, issued[:, 0], rungs[:, 0], valid[:, 0], offsets, out)
            self.calibration.learn(index, seen, quantiles, tracked, frozen, due)
        if self._scoring.keeps_results:
            every = np.broadcast_to(actual[:, None], error.shape)
            kept = (every, error, issued_loss, loss[..., 1], loss[..., 2], inside @ self._bits)
            self._report_scored(index, ticks, due, there, np.stack(kept, axis=2), offsets, out)
        self._report_summaries(index, ticks, offsets, out)

    def _issued(self, quantiles: AnyArray, rungs: AnyArray) -> AnyArray:
        """Of the tracked rungs [n, K, 3, Q] the one that was published [n, K, Q]; the level lies in the model's."""
        place = np.where((rungs == Rung.LEVEL) | (rungs < 0), Rung.MODEL, rungs).astype(np.int64)
        return np.take_along_axis(quantiles, place[..., None, None], axis=2)[:, :, 0]

    def _watch(
        self,
        index: IntArray,
        ticks: IntArray,
        actual: AnyArray,
        issued: AnyArray,
        rungs: AnyArray,
        valid: BoolArray,
        offsets: IntArray,
        out: _Answers,
    ) -> BoolArray:
        """Drift of one-step residuals: issued [n, Q] by rungs [n]. Returns which units are frozen, bool [n, 3]."""
        watched = valid & (rungs != Rung.LEVEL)
        frozen = np.zeros((len(index), TRACKED_RUNGS), bool)
        if not watched.any():
            return frozen
        at, rung = index[watched], rungs[watched].astype(np.int64)
        unit = self._columns.flat("unit")[at, rung]
        scale = np.maximum(np.sqrt(unit[:, 0]), self._columns.flat("unit_floor")[at])
        ready = unit[:, 1] > 0
        residual = np.where(ready, (actual[watched] - issued[watched][:, self._levels.median]) / scale, 0.0)
        deciding = self._cusum.deciding(at)
        statistic, alarm, ended = self._cusum.update(at, ticks[watched], residual)
        self._pit.update(at, actual[watched], issued[watched], self.calibration.decay)
        frozen[watched] = deciding[:, None]
        for state, changed in (("drift", alarm), ("ok", ended)):
            for i in np.flatnonzero(changed).tolist():
                tick, name = int(ticks[watched][i]), self._columns.ids[at[i]]
                threshold, offset = self._cusum.threshold, int(offsets[watched][i])
                out.drift.append(
                    DriftRecord(name, None, "cusum", float(statistic[i]), threshold, state, tick, tick, offset)
                )
        return frozen

    # --- reports ----------------------------------------------------------------------------------------------------

    def _report_scored(
        self,
        index: IntArray,
        ticks: IntArray,
        due: IntArray,
        there: BoolArray,
        result: AnyArray,
        offsets: IntArray,
        out: _Answers,
    ) -> None:
        """`there` [n, K] and `result` [n, K, 6] at the horizons that `due` [K] names."""
        horizons = self._levels.horizons
        origins = ticks[:, None] - horizons[due]
        self._scoring.keep_results(index, origins, due, there, result)
        done = there[:, -1]
        if due[-1] == len(horizons) - 1 and done.any():
            index, origin, offsets = index[done], origins[done, -1], offsets[done]
            results = self._scoring.results(index, origin)
            mase, coverage, _, skill = self._scoring.running(index)
            inside = (np.nan_to_num(results[..., 5]).astype(np.int64)[..., None] & self._bits) > 0
            out.scored_ids += self._names(index)
            actual, error, loss, baselines = results[..., 0], results[..., 1], results[..., 2], results[..., 3:5]
            running = (mase, coverage, skill)
            out.scored.append((origin, actual, error, loss, baselines, inside, *running, offsets))

    def _report_summaries(self, index: IntArray, ticks: IntArray, offsets: IntArray, out: _Answers) -> None:
        """Once a season a series says how it has been doing."""
        period = max(self._season, self._spec.forecast_every)
        turn = (ticks % period == 0) & (self._columns.flat("scored")[index] > 0)
        if turn.any():
            index, ticks, offsets = index[turn], ticks[turn], offsets[turn]
            mase, coverage, loss, skill = self._scoring.running(index)
            out.summary_ids += self._names(index)
            scored = self._columns.flat("scored")[index]
            out.summaries.append((ticks, mase, coverage, loss, skill, scored, offsets))

    def _close(self, wave: Wave, out: _Answers) -> None:
        """What moves only with the watermark: the cohort's offsets and the partition's drift report."""
        self.calibration.close(wave.closed)
        period = wave.closed // self._spec.report_ticks
        if period <= self.reported:
            return
        first, self.reported = self.reported < -(2**61), period
        if first:
            return
        used = np.arange(self._columns.used)
        # Columns of series that phase A has met and this phase has not would make the share depend on the polls.
        rest = self._columns.flat("cusum_rest")[: len(used)][self._columns.flat("scored")[: len(used)] > 0]
        share = float((rest >= wave.closed).mean()) if len(rest) else 0.0
        divergence, _ = self._pit.divergence(used)
        group = f"partition-{self._partition}"
        for detector, statistic in (("cusum_share", share), ("pit", divergence)):
            out.drift.append(
                DriftRecord(None, group, detector, statistic, float("nan"), "ok", wave.closed, wave.closed, wave.cause)
            )

    # --- forecasts that are due -------------------------------------------------------------------------------------

    def _issue(self, wave: Wave, windows: WindowBatch, raw: RawForecast, rows: slice, out: _Answers) -> None:
        index, origins = wave.columns[wave.due], wave.origins
        part = RawForecast(raw.locations[rows], raw.reason[rows], raw.observed_share[rows], raw.suspicious[rows])
        scale, level = windows.scale[rows, 0], windows.level[rows]
        unit = self.calibration.prepare(index, scale)  # [d, 3]
        rungs, reasons = self._ladder.choose(index, origins, part, self._scoring.naive_losses(index), self._season)
        every, on_level = np.arange(len(index)), rungs == Rung.LEVEL
        place = np.where(on_level, Rung.MODEL, rungs)
        location = np.where(on_level[:, None], level[:, None], part.locations[every, place])  # [d, H]
        tables = self.calibration.table_rows(index)
        full = self.calibration.full_quantiles(index, tables, place, location, unit[every, place])  # [d, H, Q]
        tracked = self.calibration.scored_quantiles(index, tables, part.locations, unit)  # [d, K, 3, Q]
        bounds = self._columns.flat("bounds")[index]
        if on_level.any():
            wide = level[on_level, None] + LEVEL_WIDTH * scale[on_level, None] * self._levels.normal  # [., Q]
            wide = np.clip(wide, bounds[on_level, :1], bounds[on_level, 1:])
            full[on_level] = wide[:, None]
            tracked[on_level, :, Rung.MODEL] = wide[:, None]
        if self._spec.aggregate == "count":
            full, tracked = _whole(full), _whole(tracked)
        # Of a corrected forecast the first targets may have had their score: `settled` tells.
        self._ledger.put(index, origins, wave.settled, tracked.astype(np.float32), rungs)
        if self._scoring.keeps_results and wave.kind is WaveKind.SETTLED:
            self._scoring.begin_results(index, origins)
        self._columns.touch_hot(index)
        mean = np.clip(location, bounds[:, :1], bounds[:, 1:]).astype(np.float32)
        quantiles = full.transpose(0, 2, 1).astype(np.float32)
        said = (reasons, wave.revisions, part.observed_share, wave.offsets[wave.due])
        out.ids += self._names(index)
        out.forecasts.append((origins, quantiles, mean, rungs.astype(np.int8), *said))

    def _names(self, index: IntArray) -> list[str]:
        ids = self._columns.ids
        return [ids[column] or "" for column in index.tolist()]


def _whole(quantiles: AnyArray) -> AnyArray:
    """Counts, rounded up; the dust that float32 offsets leave on a whole number is no reason to."""
    return np.ceil(quantiles - 1e-6 * np.maximum(1.0, np.abs(quantiles))) + 0.0  # + 0: no minus zero


def _outcome(spec: StreamSpec, out: _Answers, observed: Observed) -> Outcome:
    forecasts = _no_forecasts(spec)
    if out.forecasts:
        parts = [np.concatenate(part) for part in zip(*out.forecasts, strict=True)]
        mean = parts[2] if spec.is_demand else None
        forecasts = Forecasts(out.ids, parts[0], parts[1], mean, *parts[3:])
    scored = None
    if out.scored:
        scored = Scored(out.scored_ids, *(np.concatenate(part) for part in zip(*out.scored, strict=True)))
    summaries = None
    if out.summaries:
        summaries = Summaries(out.summary_ids, *(np.concatenate(part) for part in zip(*out.summaries, strict=True)))
    rungs = np.bincount(forecasts.rungs, minlength=4)
    return Outcome(forecasts, scored, summaries, out.drift, observed.deleted, observed.counts["warming_up"], rungs)


def _no_forecasts(spec: StreamSpec) -> Forecasts:
    ticks, codes = np.empty(0, np.int64), np.empty(0, np.int8)
    quantiles = np.empty((0, len(spec.quantile_levels), spec.horizon), np.float32)
    return Forecasts([], ticks, quantiles, None, codes, codes, ticks, np.empty(0, np.float32), ticks)
