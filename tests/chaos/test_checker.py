"""The checker complains when it should: each wrong here is one that a fault could cause."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chaos.checker import KINDS, Accounting, Published, Verdict, check, compare_forecasts

STEP_MS = 600_000


@dataclass(frozen=True)
class Record:
    """As much of a Kafka message as the checker looks at."""

    body: bytes | None
    at: tuple[int, int]
    header_pairs: tuple[tuple[str, bytes], ...] = ()

    def value(self) -> bytes | None:
        return self.body

    def partition(self) -> int:
        return self.at[0]

    def offset(self) -> int:
        return self.at[1]

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self.header_pairs)


def reading(tick: int, offset: int, series: str = "s") -> Record:
    body = {"series_id": series, "timestamp": tick * STEP_MS, "value": 1.0}
    return Record(json.dumps(body).encode(), (0, offset))


def forecast(tick: int, offset: int, *, point: float = 1.0, revision: int = 0) -> Record:
    body: dict[str, Any] = {
        "stream": "tides",
        "series_id": "s",
        "origin": tick * STEP_MS,
        "revision": revision,
        "input": {"partition": 0, "offset": offset},
        "point": [point],
        "issued_at": f"at {offset}",
    }
    return Record(json.dumps(body).encode(), (0, offset))


def published(readings: list[Record], forecasts: list[Record], letters: list[Record] | None = None) -> Published:
    outputs: dict[str, list[Record]] = {kind: [] for kind in KINDS}
    return Published(readings, outputs | {"forecasts": forecasts, "dead-letters": letters or []})


def letter(offset: int) -> Record:
    pairs = (("partition", b"0"), ("offset", str(offset).encode()), ("reason", b"unreadable"))
    return Record(b"garbage", (0, 0), tuple((f"tidecast.error.{name}", text) for name, text in pairs))


LOG = [reading(tick, tick) for tick in range(4)]
RIGHT = [forecast(tick, tick) for tick in range(4)]


def test_nothing_is_wrong_with_one_forecast_a_reading() -> None:
    verdict = check(published(LOG, RIGHT))
    assert not verdict.violations
    assert verdict.counts["due"] == 4


@pytest.mark.parametrize(
    ("forecasts", "sentence"),
    [
        (RIGHT[:2] + RIGHT[3:], "I1 lost"),
        ([*RIGHT[:3], forecast(3, 2)], "I1 caused by another reading"),
        ([*RIGHT, forecast(4, 9)], "I1 caused by no record"),
        ([*RIGHT, RIGHT[3]], "I2 forecasts"),
        ([RIGHT[1], RIGHT[0], *RIGHT[2:]], "I3 an earlier origin"),
        ([*RIGHT, forecast(3, 3, revision=2), forecast(3, 3, revision=1)], "I3 revisions"),
    ],
)
def test_a_wrong_forecast_is_seen(forecasts: list[Record], sentence: str) -> None:
    assert sentence in "".join(check(published(LOG, forecasts)).violations)


def test_what_owes_no_forecast_is_told_apart() -> None:
    garbage = Record(b"garbage", (0, 4))
    log = [*LOG, garbage, reading(1, 5), reading(3, 6), Record(None, (0, 7))]
    verdict = check(published(log, RIGHT, [letter(4)]))
    assert not verdict.violations
    assert [verdict.counts[fate] for fate in ("dead letters", "too late", "duplicate", "deletes")] == [1, 1, 1, 1]
    assert "I1 lost: neither" in "".join(check(published(log, RIGHT)).violations)
    assert "I2 dead letters" in "".join(check(published(log, RIGHT, [letter(4), letter(4)])).violations)


def test_the_first_readings_of_a_series_warm_it_up() -> None:
    assert not check(published(LOG, RIGHT[2:]), accounting=Accounting(min_readings=3)).violations
    assert check(published(LOG, RIGHT[3:]), accounting=Accounting(min_readings=3)).lost == 1


def test_a_forecast_unlike_the_undisturbed_runs_is_seen() -> None:
    same, other = Verdict(), Verdict()
    later = [forecast(tick, tick + 10) for tick in range(4)]  # another input and time of issue
    compare_forecasts(published(LOG, RIGHT), published(LOG, later), same)
    compare_forecasts(published(LOG, RIGHT), published(LOG, [*later[:3], forecast(3, 13, point=1.5)]), other)
    assert not same.violations
    assert "['point']" in other.violations[0]
