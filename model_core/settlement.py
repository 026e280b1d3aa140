"""Settlement: phase C of a partition, tick by tick: score what was issued, learn from it, then issue what is due.

Of what phase A (readiness) writes it reads only what the waves and windows carry, so that the result does not depend on
how far phase A has read ahead.
"""

from dataclasses import dataclass, field

import numpy as np

from model_core import ledger
from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.batches import RawForecast
from model_core.bundle import ModelFacts
from model_core.calibration import UNIT_FLOOR, WINSOR, Calibration, calibration_fields
from model_core.columns import Columns, Field
from model_core.corrector import Corrector, corrector_fields
from model_core.drift import cusum, level
from model_core.drift.watch import DriftWatch, drift_fields
from model_core.ladder import LADDER_FIELDS
from model_core.outcomes import DriftRecord, Forecasts, Observed, Outcome, Scored, Summaries, Wave, WaveKind
from model_core.quantiles import Levels
from model_core.scoring import scoring_fields
from model_core.settlement_kernel import Answers, Constants, SettlementKernel
from model_core.shadow_offsets import ShadowOffsets
from model_core.spec import StreamSpec


def settlement_fields(spec: StreamSpec) -> tuple[Field, ...]:
    return (
        *ledger.ledger_fields(spec),
        *calibration_fields(spec),
        *scoring_fields(spec),
        *LADDER_FIELDS,
        *drift_fields(len(spec.quantile_levels)),
        *corrector_fields(spec),
    )


@dataclass
class _Parts:
    """Parts of an Outcome as they come, wave by wave."""

    ids: list[str] = field(default_factory=list)
    forecasts: list[tuple[AnyArray, ...]] = field(default_factory=list)  # origins, revisions, offsets
    scored_ids: list[str] = field(default_factory=list)
    scored: list[tuple[AnyArray, ...]] = field(default_factory=list)
    summary_ids: list[str] = field(default_factory=list)
    summaries: list[tuple[AnyArray, ...]] = field(default_factory=list)
    drift: list[DriftRecord] = field(default_factory=list)


class Settlement:
    """State beside its columns: the cohort's offsets (in `calibration`), storms and reports of drift (in `drift`).

    What happens to single cells and forecasts is in compiled/settle.c and issue.c.
    """

    def __init__(
        self, spec: StreamSpec, columns: Columns, partition: int, facts: ModelFacts, *, quiet: bool = False
    ) -> None:
        """`quiet`: it learns and keeps losses, but reports nothing; its outcomes are empty."""
        self._spec = spec
        self._columns = columns
        self._quiet = quiet
        levels = Levels(spec)
        of_level = (level.SLACK, level.WINSOR, level.decay(), level.SEASONS_MIN)
        constants = Constants(UNIT_FLOOR, WINSOR, cusum.DRIFT_SLACK, cusum.WINSOR, *of_level)
        self._kernel = SettlementKernel(spec, columns, levels, constants, quiet=quiet)
        self.calibration = Calibration(spec, columns, levels, facts, self._kernel)
        self.drift = DriftWatch(columns, levels, partition, spec.report_ticks, facts)
        self._kernel.take_coverage(self.drift.hits, self.drift.scored)
        self.corrector = Corrector(spec, columns, facts, UNIT_FLOOR)
        self._last_horizon = spec.scored_horizons[-1]
        self._no_forecasts = _no_forecasts(spec)
        self._losses: list[FloatArray] | None = None

    def keep_losses(self, keep: bool) -> None:
        """Whether losses are kept for `take_losses`, from the next wave on."""
        self._losses = [] if keep else None
        self._kernel.keep_losses(keep)

    def take_losses(self) -> list[FloatArray]:
        """Of each wave settled since the last call: the pinball loss of what was issued for its cells."""
        losses, self._losses = self._losses or [], None if self._losses is None else []
        return losses

    def swap(self, facts: ModelFacts, taken: ShadowOffsets | None = None) -> None:
        """Another model is in charge from the next forecast on."""
        self.calibration.swap(facts, taken)
        self.drift.swap(facts)
        self.corrector.swap(facts)

    def settle_and_issue(self, observed: Observed, raw: RawForecast | None) -> Outcome:
        """Take the waves in order; `raw` has one row for each of `observed.windows`."""
        out, answers, start = _Parts(), None, 0
        if raw is not None and observed.windows is not None:
            raw = self.corrector.take_answers(raw, observed.windows)
            answers = Answers(self._spec, raw, observed.windows, quiet=self._quiet)
        for wave in observed.waves:
            self._close(wave, out)
            if wave.kind is WaveKind.SKIPPED:
                ledger.drop(self._columns, wave.columns)
                self.corrector.drop(wave.columns)
            elif wave.kind is WaveKind.SETTLED:
                self._settle(wave, out)
            if len(wave.due):
                assert answers is not None, "windows were gathered for this wave, and forecast"
                self._issue(wave, answers, start, out)
                start += len(wave.due)
        return self._outcome(out, observed, raw, answers)

    # --- what was issued meets its actual value ---------------------------------------------------------------------

    def _settle(self, wave: Wave, out: _Parts) -> None:
        self.corrector.learn(wave.columns, wave.ticks, wave.values)
        found = self._kernel.settle(wave.columns, wave.ticks, wave.values, wave.season_change)
        if self._losses is not None:
            self._losses.append(found.lost(len(wave.columns)))
        if self._quiet:
            return
        if (turned := found.turned) is not None:
            at, said, statistic = turned
            of = (wave.columns[at], said, statistic, wave.ticks[at], wave.offsets[at])
            out.drift += self.drift.hear_cusums(*of)
        if (rows := found.completed) is not None:
            self._report_scored(wave, rows, out)
        if (rows := found.summarised) is not None:
            self._report_summaries(wave, rows, out)

    # --- reports ----------------------------------------------------------------------------------------------------

    def _report_scored(self, wave: Wave, rows: IntArray, out: _Parts) -> None:
        index = wave.columns[rows]
        origins = wave.ticks[rows] - self._last_horizon
        mase, coverage, _, skill = self._kernel.running(index)
        out.scored_ids += self._names(index)
        results = self._kernel.results(index, origins)
        out.scored.append((origins, *results, mase, coverage, skill, wave.offsets[rows]))

    def _report_summaries(self, wave: Wave, rows: IntArray, out: _Parts) -> None:
        """Once a season the running accuracy of a series is reported."""
        index = wave.columns[rows]
        out.summary_ids += self._names(index)
        scored = self._columns.flat("scored")[index]
        out.summaries.append((wave.ticks[rows], *self._kernel.running(index), scored, wave.offsets[rows]))

    def _close(self, wave: Wave, out: _Parts) -> None:
        """What moves only with the watermark: the cohort's offsets, and reports of drift."""
        self.calibration.close(wave.closed)
        if not self._quiet:
            out.drift += self.drift.close(wave.closed, wave.cause)

    # --- forecasts that are due -------------------------------------------------------------------------------------

    def _issue(self, wave: Wave, answers: Answers, start: int, out: _Parts) -> None:
        """Issue the forecasts of this wave, whose answers begin at `start`."""
        index = wave.columns[wave.due]
        self.calibration.meet(index)
        self.corrector.correct(start, index, wave.origins, wave.settled)
        corrected = wave.kind is WaveKind.CORRECTED
        self._kernel.issue(answers, start, index, wave.origins, wave.settled, corrected)
        if self._quiet:
            return
        if answers.turned:
            rows, said, facts = answers.runs_from(start, len(index))
            at = (wave.origins[rows], wave.offsets[wave.due[rows]])
            out.drift += self.drift.hear_runs(index[rows], said, facts, *at)
        out.ids += self._names(index)
        out.forecasts.append((wave.origins, wave.revisions, wave.offsets[wave.due]))

    def _names(self, index: IntArray) -> list[str]:
        ids = self._columns.ids
        return [ids[column] or "" for column in index.tolist()]

    def _outcome(self, out: _Parts, observed: Observed, raw: RawForecast | None, answers: Answers | None) -> Outcome:
        forecasts, scored, summaries = self._no_forecasts, None, None
        if self._quiet:
            return Outcome(forecasts, scored, summaries)
        if raw is not None and answers is not None:
            origins, revisions, offsets = _joined(out.forecasts)
            made = (answers.quantiles, answers.mean, answers.rungs, answers.reasons)
            forecasts = Forecasts(out.ids, origins, *made, revisions, raw.observed_share, offsets)
        if out.scored:
            scored = Scored(out.scored_ids, *_joined(out.scored))
        if out.summaries:
            summaries = Summaries(out.summary_ids, *_joined(out.summaries))
        rungs = np.bincount(forecasts.rungs, minlength=4)
        alarms, warming_up = self.drift.take_counts(), observed.counts["warming_up"]
        return Outcome(forecasts, scored, summaries, out.drift, observed.deleted, alarms, warming_up, rungs)


def _joined(parts: list[tuple[AnyArray, ...]]) -> tuple[AnyArray, ...]:
    """The columns of parts of a table, each in one array."""
    return parts[0] if len(parts) == 1 else tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _no_forecasts(spec: StreamSpec) -> Forecasts:
    ticks, codes = np.empty(0, np.int64), np.empty(0, np.int8)
    quantiles = np.empty((0, len(spec.quantile_levels), spec.horizon), np.float32)
    return Forecasts([], ticks, quantiles, None, codes, codes, ticks, np.empty(0, np.float32), ticks)
