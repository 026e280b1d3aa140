"""What was issued is taken out once, by the target it was for; a revision replaces only what still waits."""

import numpy as np
import pytest

from model_core.columns import Columns
from model_core.ledger import NOT_ISSUED, Ledger, ledger_fields
from model_core.spec import StreamSpec


def ledger(**settings: object) -> Ledger:
    spec = StreamSpec(**({"topic": "t", "freq": "1h", "horizon": 7, "quantile_levels": (0.5,)} | settings))
    columns = Columns(ledger_fields(spec))
    columns.add(["a", "b"])
    return Ledger(spec, columns)


def put(book: Ledger, origin: int, value: float, settled: int | None = None, column: int = 0) -> None:
    quantiles = np.full((1, 5, 3, 1), value, np.float32)
    at = [np.array([x], np.int64) for x in (column, origin, origin if settled is None else settled)]
    book.put(*at, quantiles, np.array([2]))


def take(book: Ledger, tick: int, column: int = 0) -> list[tuple[int, float]]:
    """(scored horizon, value) of what was there."""
    quantiles, _, there = book.take(np.array([column]), np.array([tick]))
    return [(int(h), float(quantiles[0, k, 2, 0])) for k, h in enumerate((1, 2, 3, 6, 7)) if there[0, k]]


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_every_origin_and_scored_horizon_comes_out_exactly_once(every: int) -> None:
    book, found = ledger(forecast_every=every), []
    for tick in range(1000, 1060):
        found += [(tick - h, h) for h, value in take(book, tick) if value == tick - h]
        if tick % every == 0:
            put(book, tick, tick)
    origins = [tick for tick in range(1000, 1060) if tick % every == 0]
    assert sorted(found) == sorted((o, h) for o in origins for h in (1, 2, 3, 6, 7) if o + h < 1060)


def test_a_revision_replaces_only_what_still_waits() -> None:
    book = ledger()
    put(book, 1000, 1.0)
    assert take(book, 1001) == [(1, 1.0)]
    put(book, 1000, 2.0, settled=1001)
    assert take(book, 1001) == []
    assert take(book, 1002) == [(2, 2.0)]


def test_what_is_dropped_never_comes_out_and_others_stay() -> None:
    book = ledger()
    put(book, 1000, 1.0), put(book, 1000, 3.0, column=1)
    book.drop(np.array([0]))
    assert take(book, 1001) == []
    assert take(book, 1001, column=1) == [(1, 3.0)]
    assert book.take(np.array([0]), np.array([1002]))[1].tolist() == [[NOT_ISSUED] * 5]


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7, 12])
def test_looking_only_where_something_can_be_due_finds_all_there_is(rng: np.random.Generator, every: int) -> None:
    """Two books with the same entries, one asked for all horizons, series settling ticks of their own."""
    all_, due = ledger(forecast_every=every), ledger(forecast_every=every)
    both, apart = np.array([0, 1]), rng.integers(0, 2 * every, 2)
    for step in range(80):
        ticks = 1000 + step + apart
        found = all_.take(both, ticks)
        horizons = due.due(ticks)
        quantiles, rungs, there = due.take(both, ticks, horizons)
        assert np.array_equal(np.flatnonzero(found[2].any(axis=0)), horizons[there.any(axis=0)])
        assert np.array_equal(found[1][:, horizons], rungs)
        assert np.array_equal(found[0][:, horizons][there], quantiles[there])
        for column in both[ticks % every == 0].tolist():
            value = float(rng.normal())
            for book in (all_, due):
                put(book, int(ticks[column]), value, column=column)


def test_nothing_is_due_at_most_ticks_between_forecasts() -> None:
    book = ledger(forecast_every=12)
    due = [book.due(np.full(3, tick)).tolist() for tick in range(1200, 1212)]
    assert due == [[], [0], [1], [2], [], [], [3], [4], [], [], [], []]
