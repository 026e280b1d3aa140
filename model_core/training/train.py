"""Training, in order: season → fit on the oldest part → penalty and errors on the next → the newest part decides.

The history is cut by time into four spans. Ridge is fitted on the first. On the second, penalty and prior are chosen,
and the quantiles of its errors are learned. On the other two the candidate, fitted on the first two, meets the model in
charge. What is published is fitted on all four: the sums of the spans are added, nothing is read twice. The quantiles
that it carries are of errors on data that the weights had not seen at that time.

The four spans lie in the newest part of the history. What is older has become sums, now or in earlier trainings
(folding.py), and is added to the first span.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_core.arrays import AnyArray
from model_core.bundle import BASE, GAUSSIAN_CUSUM_THRESHOLD, SERIES_TABLES, Bundle, Manifest, ModelFacts, Training
from model_core.drift.limits import Limits, learn_limits
from model_core.drift.storm import STORM_SHARE_MIN
from model_core.durations import format_duration
from model_core.errors import NotEnoughHistory
from model_core.gate.attempt import Attempt
from model_core.gate.holes import longest_gap
from model_core.gate.judge import Contender, Verdict, judge
from model_core.gate.speed import Clock
from model_core.ladder import Rung
from model_core.models import DEMAND, PATCH_MIXER, RIDGE
from model_core.models.ridge_fit import Sums
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.demand import fit_demand
from model_core.training.folding import fold, recent_origins
from model_core.training.history import CellHistory
from model_core.training.mixer import fit_mixer
from model_core.training.past import Past
from model_core.training.report import training_report
from model_core.training.residuals import Run, Tables, learn_tables, run, run_series
from model_core.training.ridge import Choice, RidgeTraining, typical_steps
from model_core.training.season_search import SeasonSearch, find_season
from model_core.training.spans import Spans, split

NETWORK_GAIN_MIN = 0.02  # of the absolute error, by which a network must be better than ridge alone to be taken

Progress = Callable[[str, float], None]  # (what is being done, share of the whole that is done)


@dataclass(frozen=True)
class Trained:
    """A bundle, whether it may take charge, and a report for people, JSON-able."""

    bundle: Bundle
    verdict: Verdict
    report: dict[str, Any]


def train(
    history: CellHistory,
    spec: StreamSpec,
    *,
    version: str,
    created_at: str,
    champion: Bundle | None = None,
    attempts: Sequence[Attempt] = (),
    clock: Clock | None = None,
    false_alarms_per_million: float = 100.0,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = lambda _what, _share: None,
) -> Trained:
    """Learn a candidate from the history and judge it. NotEnoughHistory says how much is missing.

    Earlier `attempts` that share data with this one make it harder to pass. Without a `clock` (seconds) speed is not
    judged. The history is left unchanged: to train from it again, fold it first, or each training folds it anew.
    """
    history = history.copy()
    fold(history, spec)
    windows = TrainingWindows(spec, history)
    spans = split(windows, first_model=champion is None, past=history.past)
    work = _Training(windows, spans, history.past, version, created_at, device, progress, seed)
    work.tell("looking for a season", 0.0)
    season = find_season(windows.target_cells(), spec)
    sums, choice, errors = work.learn(season)
    tables = learn_tables(errors, spec, windows.series_ids)
    work.tell("judging it on the newest part", 0.6)
    sums, model = work.try_out(season, sums, choice, tables)
    candidate = Contender(Predictor(spec, model, device=device), season.ticks, tables)
    late = work.run(candidate.predictor, season, spans.earlier, spans.end)
    verdict = judge(
        windows,
        spans.slices(spec.horizon),
        candidate,
        errors,
        late,
        season,
        champion,
        version=version,
        attempts=attempts,
        clock=clock,
        device=device,
        seed=seed,
    )
    work.tell("fitting on everything", 0.85)
    sums = work.ridge.grown(sums, spans.earlier - spec.horizon, spans.end)
    if not sums.rows.any():
        raise NotEnoughHistory(_no_window(windows))
    work.renew_network(season, sums, choice, spans.end)
    every = errors + late
    tables = learn_tables(every, spec, windows.series_ids)
    limits = learn_limits(every, tables, spec, season.ticks, windows, false_alarms_per_million, seed)
    bundle = work.bundle(season, sums, choice, tables, limits)
    work.tell("done", 1.0)
    return Trained(bundle, verdict, training_report(bundle, season, windows, spans, verdict, choice))


def _no_window(windows: TrainingWindows) -> str:
    spec, seen = windows.spec, np.isfinite(windows.target_cells())
    return (
        f"training found no window of {spec.context_length} + {spec.horizon} steps with enough readings in it: of "
        f"{windows.ticks:,} steps of {len(windows):,} series {seen.mean():.1%} have one; check that "
        f"freq, {format_duration(spec.freq)}, is the step of the readings"
    )


class _Training:
    """The steps, with what they share."""

    def __init__(
        self,
        windows: TrainingWindows,
        spans: Spans,
        past: Past | None,
        version: str,
        created_at: str,
        device: str,
        progress: Progress,
        seed: int,
    ) -> None:
        self.windows, self.spans, self.spec, self._past = windows, spans, windows.spec, past
        self._version, self._created_at, self._device, self._seed = version, created_at, device, seed
        self.tell = progress
        self.ridge: RidgeTraining
        self.demand: dict[str, AnyArray] = {}  # tensors of the model of intermittent demand
        self.network: dict[str, AnyArray] = {}  # tensors of the network that corrects ridge; empty: ridge alone
        self.gap_max: int | None = None  # see Manifest
        # The same in every run, because the errors of all runs are pooled.
        self._series = run_series(windows, max(spans.earlier - spans.validation, spans.end - spans.earlier))

    def learn(self, season: SeasonSearch) -> tuple[Sums, Choice, Run]:
        """Fit on the first span, choose on the second, and run there: (sums of the first, choice, errors)."""
        spec, spans = self.spec, self.spans
        self.ridge = RidgeTraining(self.windows, season.ticks, min(spans.end - spans.fit, recent_origins(spec)))
        self.tell("fitting on the oldest part", 0.05)
        # A span's targets reach a horizon beyond its origins: they must not reach into the next one.
        sums = self.ridge.grown(self.ridge.before(self._past), spans.fit, spans.validation - spec.horizon)
        if spec.is_demand:
            self.tell("learning how often is sold", 0.2)
            before = (spans.validation, spans.earlier - spec.horizon)
            self.demand = fit_demand(self.windows, season, (spans.fit, spans.validation), before)
        self.tell("choosing penalty and prior", 0.25)
        choice = self.ridge.choose(sums, spans.validation, spans.earlier - spec.horizon)
        self.tell("learning the quantiles of its errors", 0.4)
        none = ModelFacts.none(spec)
        nothing = Tables(none.base, (), np.zeros((0, *none.base.shape)))
        predictor = self._predictor(self.bundle(season, sums, choice, nothing, None))
        span = (spans.validation, spans.earlier - spec.horizon)
        errors = self.run(predictor, season, *span)
        if spec.model != "ridge" and not spec.is_demand:
            self._fit_network(season, sums, choice, spans.validation - spec.horizon)
            with_it = self._predictor(self.bundle(season, sums, choice, nothing, None))
            mixed = self.run(with_it, season, *span)
            if spec.model == "patch_mixer" or self._errs_less(season, mixed, errors):
                predictor, errors = with_it, mixed
            else:
                self.network = {}
        self.gap_max = longest_gap(self.windows, predictor, season.ticks, span)
        return sums, choice, errors

    def _predictor(self, model: Bundle) -> Predictor:
        return Predictor(self.spec, model, device=self._device)

    def _errs_less(self, season: SeasonSearch, one: Run, other: Run) -> bool:
        """Whether `one` is better by enough: in absolute errors, in typical steps of the series, by which penalty and
        prior are chosen too."""
        steps = typical_steps(self.windows, season.ticks)[one.series][:, None]
        first, second = (np.abs(each.residuals[:, :, Rung.MODEL]) / steps for each in (one, other))
        return bool(np.nanmean(first) < (1.0 - NETWORK_GAIN_MIN) * np.nanmean(second))

    def _fit_network(self, season: SeasonSearch, sums: Sums, choice: Choice, end: int) -> None:
        """On top of the ridge of these sums, from the windows whose origin is before `end`."""
        self.tell("fitting the network", 0.3)
        span = (self.spans.fit, end)
        ridge = self.ridge.solve(sums, choice)
        self.network = fit_mixer(self.windows, ridge, season.ticks, span, self._seed)

    def renew_network(self, season: SeasonSearch, sums: Sums, choice: Choice, end: int) -> None:
        """Fit the network again, if there is one, because `sums` have grown."""
        if self.network:
            self._fit_network(season, sums, choice, end)

    def try_out(self, season: SeasonSearch, sums: Sums, choice: Choice, tables: Tables) -> tuple[Sums, Bundle]:
        """Fit on the two spans that do not decide: (sums of both, model)."""
        spans, horizon = self.spans, self.spec.horizon
        sums = self.ridge.grown(sums, spans.validation - horizon, spans.earlier - horizon)
        self.renew_network(season, sums, choice, spans.earlier - horizon)
        return sums, self.bundle(season, sums, choice, tables, None)

    def run(self, predictor: Predictor, season: SeasonSearch, first: int, last: int) -> Run:
        return run(self.windows, predictor, season.ticks, first, last, self._series)

    def bundle(self, season: SeasonSearch, sums: Sums, choice: Choice, tables: Tables, limits: Limits | None) -> Bundle:
        spec, windows = self.spec, self.windows
        tensors: dict[str, AnyArray] = {BASE: tables.base, SERIES_TABLES: tables.own[:, Rung.MODEL]}
        limits = limits or Limits(GAUSSIAN_CUSUM_THRESHOLD, None, None, float("nan"), STORM_SHARE_MIN)
        return Bundle.sealed(
            tensors | self.ridge.solve(sums, choice) | self.demand | self.network,
            model=DEMAND if spec.is_demand else PATCH_MIXER if self.network else RIDGE,
            version=self._version,
            created_at=self._created_at,
            **Manifest.of_stream(spec),
            season=season.ticks,
            season_found=season.found,
            cusum_threshold=limits.near,
            horizon_threshold=limits.far or GAUSSIAN_CUSUM_THRESHOLD,
            level_threshold=limits.level,
            storm_share=limits.storm_share,
            gap_max=self.gap_max,
            false_alarms_per_million=None if np.isnan(limits.alarms_per_million) else limits.alarms_per_million,
            series=tables.series,
            training=Training(
                first_tick=windows.first_tick if self._past is None else self._past.first + 1 - spec.context_length,
                last_tick=windows.first_tick + windows.ticks - 1,
                series=len(windows),
                windows=int(sums.rows.max()),
                penalty=choice.penalty,
                prior=choice.prior,
            ),
        )
