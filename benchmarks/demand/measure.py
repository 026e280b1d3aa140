"""Demand as a worker serves it: trained before the test, then day by day, learning with delayed labels as it does."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.figures import save_method
from benchmarks.demand.retail import DAY_MS, Shop, day_of, readings
from model_core.arrays import AnyArray, FloatArray, IntArray
from model_core.backtest import steps
from model_core.bundle import Bundle
from model_core.ladder import RUNG_NAMES, Rung
from model_core.ledger import slots_of_horizons
from model_core.models.intermittent import RATES, ZERO_SHARE
from model_core.outcomes import Outcome
from model_core.partition import PartitionState
from model_core.predictor import Predictor
from model_core.readings import Readings
from model_core.spec import StreamSpec
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.train import train

CELL = "demand-uci502"
CONTEXT, HORIZON, WEEK, MEAN_DAYS = 112, 7, 7, 28
JITTER_SEED = 502  # of the randomised PIT here; the worker draws its own
RIVALS = ("zero", "last value", "seasonal naive", "28-day mean")


def spec() -> StreamSpec:
    return StreamSpec(
        topic="orders",
        freq=DAY_MS,
        aggregate="count",
        context_length=CONTEXT,
        horizon=HORIZON,
        calendar=("day_of_week", "holidays"),
        holidays="GB",
        accuracy="records",
    )


@dataclass
class Kept:
    """Forecasts of the days of the test, as they came: K scored horizons, Q levels."""

    product: list[IntArray] = field(default_factory=list)
    origin: list[IntArray] = field(default_factory=list)  # days since the first
    rung: list[AnyArray] = field(default_factory=list)
    quantiles: list[FloatArray] = field(default_factory=list)  # [n, Q, K], published
    continuous: list[FloatArray] = field(default_factory=list)  # [n, K, Q], as the ledger has them
    mean: list[FloatArray] = field(default_factory=list)  # [n, K]


def measure(shop: Shop, folder: Path) -> dict[str, Any]:
    """The method is saved in `folder` before the test is opened."""
    stream, began = spec(), time.process_time()
    known = readings(shop, shop.before_test(), 0)
    history = CellHistory()
    feed = HistoryFeed(stream, history)
    feed.take(0, known)
    feed.finish()
    trained = train(history, stream, version="demand", created_at="", device="cpu")
    fit_s = time.process_time() - began
    cells = shop.open(save_method(folder, CELL, _method(shop, trained.bundle)), CELL)
    kept, forecast_s, naive = _serve(stream, shop, known, cells, trained.bundle)
    return {
        "method": _method(shop, trained.bundle),
        "gate": trained.verdict.reason,
        "days": [day_of(shop.test_day), day_of(len(cells) - 1)],
        "products": len(shop.products),
        "horizons": [_at(stream, shop, cells, kept, k) for k in range(len(stream.scored_horizons))],
        "rungs": dict(zip(RUNG_NAMES, np.bincount(np.concatenate(kept.rung), minlength=4).tolist(), strict=True)),
        "tracked_naive": naive,
        "cost": {"fit_s": fit_s, "day_s": forecast_s / (len(cells) - shop.test_day)},
    }


def _method(shop: Shop, bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "model": manifest.model,
        "penalty": manifest.training.penalty,
        "prior": manifest.training.prior,
        "rates": bundle.tensors[RATES].tolist(),
        "season": manifest.season,
        "context_length": CONTEXT,
        "horizon": HORIZON,
        "test": f"{day_of(shop.test_day)} and after; trained once on what was before, not refitted",
        "products_sha256": hashlib.sha256("\n".join(shop.products).encode()).hexdigest(),
        "weights_sha256": manifest.sha256,
    }


def _serve(
    stream: StreamSpec, shop: Shop, known: Readings, cells: IntArray, bundle: Bundle
) -> tuple[Kept, float, list[float]]:
    """(forecasts whose targets may lie in the test, processor seconds, pinball of both naive rungs as tracked)."""
    state, place = PartitionState(stream, 0), {name: column for column, name in enumerate(shop.products)}
    for _ in steps(state, known, Predictor(stream, None, device="cpu")):
        pass
    state.swap_model(bundle.facts())
    predictor, kept, first = Predictor(stream, bundle, device="cpu"), Kept(), shop.first_tick
    slots = slots_of_horizons(stream)
    rows, every = np.cumsum(slots) - slots, np.array(stream.scored_horizons)
    began, naive, counted = time.process_time(), np.zeros(2), 0
    for outcome in _few_by_few(
        state, predictor, readings(shop, cells[shop.test_day :], shop.test_day), len(shop.products)
    ):
        if (scored := outcome.scored) is not None:
            there = np.isfinite(scored.baselines).all(axis=2) & (scored.origins[:, None] + 1 - first > shop.test_day)
            naive, counted = naive + scored.baselines[there].sum(axis=0), counted + int(there.sum())
        said = outcome.forecasts
        if not len(said):
            continue
        columns = np.array([state.columns.index[name] for name in said.series_ids], np.int64)
        kept.product.append(np.array([place[name] for name in said.series_ids], np.int64))
        kept.origin.append(said.origins - first)
        kept.rung.append(said.rungs)
        kept.quantiles.append(said.quantiles[:, :, every - 1])
        kept.continuous.append(_entered(state, columns, rows + said.origins[:, None] % slots, said.rungs))
        assert said.mean is not None, "demand has a mean"
        kept.mean.append(said.mean[:, every - 1])
    return kept, time.process_time() - began, (naive / max(counted, 1)).tolist()


def _few_by_few(state: PartitionState, predictor: Predictor, log: Readings, most: int) -> Iterator[Outcome]:
    """At most as many forecasts at once as there are products: what they enter into the ledger is read right then."""
    for observed in state.observe(log, windows_max=most):
        raw = predictor.raw(observed.windows) if observed.windows is not None else None
        yield state.settle_and_issue(observed, raw)


def _entered(state: PartitionState, columns: IntArray, rows: IntArray, rungs: AnyArray) -> FloatArray:
    """[n, K, Q]: the quantiles of the continuous value (model_core/compiled/demand.h). NaN for a product's earlier
    forecast where two of them came at once: the later one may have taken its place."""
    tracked = np.where(rungs == Rung.LEVEL, Rung.MODEL, rungs)[:, None]
    entered: FloatArray = state.columns.arrays["issued"][columns[:, None] >> 8, rows, columns[:, None] & 255, tracked]
    _, last = np.unique(columns[::-1], return_index=True)
    earlier = np.ones(len(columns), bool)
    earlier[len(columns) - 1 - last] = False
    entered[earlier] = np.nan
    return entered


def _at(stream: StreamSpec, shop: Shop, cells: IntArray, kept: Kept, k: int) -> dict[str, Any]:
    """What came of the forecasts at one scored horizon whose target is a day of the test."""
    h, levels = stream.scored_horizons[k], np.array(stream.quantile_levels)
    product, origin = np.concatenate(kept.product), np.concatenate(kept.origin)
    inside = np.flatnonzero((origin + h >= shop.test_day) & (origin + h < len(cells)))
    product, origin = product[inside], origin[inside]
    actual = cells[origin + h, product]
    shown = np.concatenate(kept.quantiles)[inside, :, k]
    continuous = np.concatenate(kept.continuous)[inside, k]
    mean = np.concatenate(kept.mean)[inside, k]
    pairs = list(zip(origin.tolist(), product.tolist(), strict=True))
    placed = actual - np.random.default_rng(JITTER_SEED + h).random(len(actual))
    days = {
        "zero": np.zeros(len(actual)),
        "last value": cells[origin, product],
        "seasonal naive": cells[origin + h - WEEK * -(-h // WEEK), product],
        "28-day mean": np.array([cells[t - MEAN_DAYS + 1 : t + 1, p].mean() for t, p in pairs]),
    }
    zeros = np.array([(cells[max(0, t + 1 - CONTEXT) : t + 1, p] == 0).mean() for t, p in pairs])
    seldom, known = zeros > ZERO_SHARE, np.isfinite(continuous[:, 0])
    below = placed[:, None] <= continuous
    return {
        "horizon": h,
        "forecasts": len(actual),
        "intermittent": float(seldom.mean()),
        "pit": below[known].mean(axis=0).tolist(),
        "pit_intermittent": below[known & seldom].mean(axis=0).tolist(),
        "below": (actual[:, None] < shown).mean(axis=0).tolist(),
        "at_most": (actual[:, None] <= shown).mean(axis=0).tolist(),
        "total": float(mean.sum() / actual.sum()),
        "pinball": _pinball(actual, shown, levels),
        "rivals": {name: _pinball(actual, values[:, None], levels) for name, values in days.items()},
    }


def _pinball(actual: AnyArray, quantiles: AnyArray, levels: FloatArray) -> float:
    difference = actual[:, None] - quantiles
    return float(np.maximum(levels * difference, (levels - 1) * difference).mean())
