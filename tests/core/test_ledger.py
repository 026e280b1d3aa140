"""What was issued is taken out once, by the target it was for; a revision replaces only what still waits."""

import numpy as np
import pytest

from tests.core.waves import Waves

HORIZONS = (1, 2, 3, 6, 7)


def ledger(**settings: object) -> Waves:
    return Waves(2, **({"horizon": 7, "quantile_levels": (0.5,)} | settings))


def put(book: Waves, origin: int, value: float, settled: int | None = None, column: int = 0) -> None:
    book.issue([column], origin, np.full((1, 3, 7), value), settled=settled)


def taken(book: Waves, ticks: list[int], columns: list[int]) -> list[list[tuple[int, float]]]:
    """Of each column (scored horizon, value) of what its tick took out. The cells are missing: nothing is learned."""
    before = [book.waiting(column) for column in columns]
    book.settle(columns, ticks, np.nan)
    after = [book.waiting(column) for column in columns]
    return [
        sorted((place[0], float(found[2, 0])) for place, found in had.items() if place not in has)
        for had, has in zip(before, after, strict=True)
    ]


def take(book: Waves, tick: int, column: int = 0) -> list[tuple[int, float]]:
    return taken(book, [tick], [column])[0]


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_every_origin_and_scored_horizon_comes_out_exactly_once(every: int) -> None:
    book, found = ledger(forecast_every=every), []
    for tick in range(1000, 1060):
        found += [(tick - h, h) for h, value in take(book, tick) if value == tick - h]
        if tick % every == 0:
            put(book, tick, tick)
    origins = [tick for tick in range(1000, 1060) if tick % every == 0]
    assert sorted(found) == sorted((o, h) for o in origins for h in HORIZONS if o + h < 1060)


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
    book.drop([0])
    assert take(book, 1001) == []
    assert take(book, 1001, column=1) == [(1, 3.0)]
    assert book.waiting(0) == {}


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7, 12])
def test_who_settles_together_and_at_which_ticks_changes_nothing(rng: np.random.Generator, every: int) -> None:
    """Two books with the same entries: series with ticks of their own in one wave, and each in a wave of its own."""
    together, single = ledger(forecast_every=every), ledger(forecast_every=every)
    apart, found = rng.integers(0, 2 * every, 2), 0
    for step in range(80):
        ticks = (1000 + step + apart).tolist()
        came = taken(together, ticks, [0, 1])
        assert came == [take(single, tick, column) for column, tick in enumerate(ticks)]
        found += sum(map(len, came))
        for column, tick in enumerate(ticks):
            value = float(rng.normal())
            for book in (together, single):
                if tick % every == 0:
                    put(book, tick, value, column=column)
    assert found


def test_nothing_is_due_at_most_ticks_between_forecasts() -> None:
    book = ledger(forecast_every=12)
    put(book, 1188, 1.0)
    due = []
    for tick in range(1189, 1212):
        due.append([HORIZONS.index(h) for h, _ in take(book, tick)])
        if tick == 1200:
            put(book, 1200, 1.0)
    assert due[11:] == [[], [0], [1], [2], [], [], [3], [4], [], [], [], []]


def test_ticks_before_1970_are_ticks_like_all_others() -> None:
    book, found = ledger(forecast_every=3), []
    for tick in range(-40, 10):
        found += [(tick - h, h) for h, value in take(book, tick) if value == tick - h]
        if tick % 3 == 0:
            put(book, tick, tick)
    assert sorted(found) == sorted((o, h) for o in range(-39, 10, 3) for h in HORIZONS if o + h < 10)
