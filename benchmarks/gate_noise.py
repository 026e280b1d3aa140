"""How often noise takes charge: candidate and champion of the same data, neither better in truth, many times over.

    python -m benchmarks.gate_noise                  writes docs/proofs/gate_noise.json, some four minutes
    python -m benchmarks.gate_noise --kind weeks --trials 20 --out /tmp/noise.json

Two kinds of pairs, of ridge on the household's sensors (UCI 235) by the hour, four years: `seed`, each model on a
random half of the windows of the same weeks; `weeks`, each on a random half of the training weeks. Trials are pairs of
80 such models, none twice. Beside the gate's two slices the interval that most would take: the newest slice, all errors
independent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.stage import REPOSITORY
from model_core.arrays import FloatArray, IntArray
from model_core.bundle import BASE, GAUSSIAN_CUSUM_THRESHOLD, SERIES_TABLES, Bundle, Manifest, ModelFacts, Training
from model_core.gate.checks import MARGIN, TAIL_MAX, TAIL_P99_MAX
from model_core.gate.duel import Contender, against_champion, run_over
from model_core.gate.interval import relative_difference
from model_core.gate.judge import block_steps
from model_core.ladder import Rung
from model_core.models.ridge_fit import Sums
from model_core.predictor import Predictor
from model_core.spec import StreamSpec
from model_core.training.dataset import TrainingWindows
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.residuals import Tables, learn_tables, run_origins
from model_core.training.ridge import Choice, RidgeTraining
from model_core.training.spans import Spans, split
from stream_app.tables import read_table
from stream_app.training.train_job import from_table

DATA = REPOSITORY / "stream_app" / "data" / "uci235_household_7ch_15min.csv.gz"
SEASON, WEEK = 168, 168
STRIDE = 3  # origins that are scored: every third
TRIALS, MODELS, ALPHA, NORMAL = 200, 80, 0.05, 1.645
KINDS = ("seed", "weeks")


@dataclass(frozen=True)
class Ground:
    """What all trials share. `weeks`: sums of each training week, of both halves of its windows."""

    windows: TrainingWindows
    spans: Spans
    ridge: RidgeTraining
    weeks: list[tuple[Sums, Sums]]
    tables: Tables


def ground() -> Ground:
    spec = StreamSpec(topic="household", freq=3_600_000, context_length=168, horizon=24)
    history = CellHistory()
    feed = HistoryFeed(spec, history)
    for portion in from_table(spec, read_table(DATA)):
        for partition, readings in portion.readings.items():
            feed.take(partition, readings)
    feed.finish()
    windows = TrainingWindows(spec, history)
    spans = split(windows, first_model=False)
    ridge = RidgeTraining(windows, SEASON, spans.end - spans.fit)
    starts = range(spans.fit, spans.earlier - spec.horizon - WEEK, WEEK)
    weeks = [halves(ridge, start, start + WEEK - spec.horizon) for start in starts]
    plain = Tables(ModelFacts.none(spec).base, (), np.zeros((0, *ModelFacts.none(spec).base.shape)))
    every = Ground(windows, spans, ridge, weeks, plain)
    model = contender(every, sum_of(every, np.ones((len(weeks), 2), bool)))
    errors = run_over(windows, model, spans.slices(spec.horizon).before, np.arange(len(windows)), STRIDE)
    return Ground(windows, spans, ridge, weeks, learn_tables(errors, spec, windows.series_ids))


def halves(ridge: RidgeTraining, first: int, last: int) -> tuple[Sums, Sums]:
    """Of a week's windows those of every second day, and the others."""
    parts: list[list[Sums]] = [[], []]
    for number, start in enumerate(range(first, last, 24)):
        parts[number % 2].append(ridge.sums(start, min(start + 24, last)))
    even, odd = (total(each) for each in parts)
    return even, odd


def total(parts: list[Sums]) -> Sums:
    """All of them added, into new matrices: there are a hundred large ones."""
    sums = {}
    for name in ("gram", "absent", "cross", "target_gram", "window_y", "target_y", "rows", "mass"):
        there = [matrix for each in parts if (matrix := getattr(each, name)) is not None]
        sums[name] = there[0].clone() if there else None
        for matrix in there[1:]:
            sums[name].add_(matrix)
    return Sums(**sums)


def sum_of(on: Ground, taken: np.ndarray) -> Sums:
    """`taken` bool [weeks, 2]: which halves of which weeks."""
    return total([week[half] for week, some in zip(on.weeks, taken, strict=True) for half in np.flatnonzero(some)])


def contender(on: Ground, sums: Sums) -> Contender:
    spec = on.windows.spec
    weights = on.ridge.solve(sums, Choice(1e-2, "mean", "single", {}))
    tables = {BASE: on.tables.base, SERIES_TABLES: on.tables.own[:, Rung.MODEL]}
    bundle = Bundle.sealed(
        tables | weights,
        model="ridge",
        version="noise",
        created_at="",
        **Manifest.of_stream(spec),
        season=SEASON,
        season_found=True,
        cusum_threshold=GAUSSIAN_CUSUM_THRESHOLD,
        false_alarms_per_million=None,
        series=on.tables.series,
        training=Training(),
    )
    return Contender(Predictor(spec, bundle, device="cpu"), SEASON, on.tables)


def takings(kind: str, weeks: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """What each model learns from, bool [weeks, 2], for ever."""
    while True:
        if kind == "weeks":
            taken = np.zeros((weeks, 2), bool)
            taken[rng.permutation(weeks)[: weeks // 2]] = True
        else:
            first = rng.integers(0, 2, weeks)
            taken = np.stack([first == 0, first == 1], axis=1)
        yield taken


def losses_of(on: Ground, model: Contender) -> FloatArray:
    """float64 [n, S] over both slices."""
    done = run_over(on.windows, model, on.spans.slices(on.windows.spec.horizon).both, everyone(on), STRIDE)
    return against_champion(done, on.tables, model, on.windows, done, np.ones(len(on.windows), bool)).candidate


def everyone(on: Ground) -> IntArray:
    return np.arange(len(on.windows))


def judged(on: Ground, mine: FloatArray, theirs: FloatArray) -> dict[str, float | bool]:
    """The rules on losses [n, S] of a pair."""
    slices = on.spans.slices(on.windows.spec.horizon)
    rows = run_origins(on.windows.spec, on.windows, *slices.both)[::STRIDE]
    newest, earlier = ((rows >= span[0]) & (rows < span[1]) for span in (slices.newest, slices.earlier))
    there = np.isfinite(mine) & np.isfinite(theirs)
    mine, theirs = (np.where(there, losses, np.nan) for losses in (mine, theirs))
    scale = np.nanmean(theirs, axis=0)  # series weigh alike
    block = -(-block_steps(on.windows, first_model=False) // STRIDE)

    def of(losses: FloatArray, inside: np.ndarray) -> FloatArray:
        known = inside & there.any(axis=1)
        return np.nanmean(losses[known] / scale, axis=1)

    new, old = (relative_difference(of(mine, inside), of(theirs, inside), block, ALPHA) for inside in (newest, earlier))
    ratios = np.nansum(mine, axis=0) / np.nansum(theirs, axis=0)
    difference = ((mine - theirs) / scale)[newest].ravel()
    difference = difference[np.isfinite(difference)]
    independent = difference.mean() + NORMAL * difference.std() / len(difference) ** 0.5
    slices_pass = bool(new.upper < -MARGIN and old.upper <= 0)
    return {
        "newest": new.mean,
        "earlier": old.mean,
        "gate": bool(slices_pass and np.quantile(ratios, 0.99) <= TAIL_P99_MAX and ratios.max() <= TAIL_MAX),
        "two slices": slices_pass,
        "two slices, no margin": bool(new.upper < 0 and old.upper <= 0),
        "newest slice, no margin": bool(new.upper < 0),
        "independent errors": bool(independent < 0),
    }


def measure(on: Ground, kind: str, trials: int) -> dict[str, object]:
    rng = np.random.default_rng(5)
    chosen = takings(kind, len(on.weeks), rng)
    pool = []
    for number in range(min(MODELS, 2 * trials)):
        pool.append(losses_of(on, contender(on, sum_of(on, next(chosen)))))
        if number % 20 == 19:
            print(kind, number + 1, "models", flush=True)
    pairs = [(a, b) for a in range(len(pool)) for b in range(len(pool)) if a != b]
    taken = rng.permutation(len(pairs))[:trials]
    found = [judged(on, pool[pairs[each][0]], pool[pairs[each][1]]) for each in taken.tolist()]
    promoted = {rule: sum(bool(each[rule]) for each in found) for rule in RULES}
    print(kind, "of", len(found), "promoted", promoted, flush=True)
    means = {name: np.array([each[name] for each in found]) for name in ("newest", "earlier")}
    surely = np.array([bool(each["newest slice, no margin"]) for each in found])
    return {
        "trials": len(found),
        "promoted": promoted,
        "spread_of_the_difference": {name: float(values.std()) for name, values in means.items()},
        "likeness_of_the_slices": float(np.corrcoef(means["newest"], means["earlier"])[0, 1]),
        "surely_better_in_the_newest_and_better_in_the_earlier": int((surely & (means["earlier"] < 0)).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "proofs" / "gate_noise.json")
    chosen = parser.parse_args()
    on = ground()
    report = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    report |= {"training_weeks": len(on.weeks), "origins_scored_every": STRIDE, "series": len(on.windows)}
    for kind in chosen.kind:
        report[kind] = measure(on, kind, chosen.trials)
        chosen.out.write_text(json.dumps(report, indent=1) + "\n")


RULES = ("gate", "two slices", "two slices, no margin", "newest slice, no margin", "independent errors")

if __name__ == "__main__":
    main()
