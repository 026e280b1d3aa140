"""Late a little, again and again, as by bursts at times of the day: the ticket comes, and nobody is waked.

The bursts leave as much of the month's budget unspent as the fast alert wants gone before it fires.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from deploy.prove.faults import LATE_READING
from deploy.prove.firing import clears, fires, scaled, stays_calm
from deploy.prove.programs import expect, get
from deploy.prove.watched import STREAM, Watched

SCALE = 100
RATE = 1_500  # the packaged readings last for more than all of it
HOUR_S, HOURS_2_S = 3_600 / SCALE, 7_200 / SCALE
# The seconds in which a worker begins are late: forgotten by the short window after two hours, and of little weight in
# the long one after three.
CALM_S, CALM_WITHIN_S, WEIGHS_LITTLE_S = 60, 2 * HOURS_2_S, 3 * HOUR_S
LATE_SHARE = 0.016  # of six hours: above what the slow alert wants, and far below the fast one's .03
FIRE_S, CLEAR_S = 240, 60 + HOURS_2_S
SEEN_S = 5  # after which a burst has gone through, and was late or was not
BURST, LARGER = 60_000, 1.4
SLOW, FAST = "TidecastForecastsLateSlowly", "TidecastForecastsLate"
FAULT = "for a second or two in a hundred more comes in than can be read in time"


def prove(folder: Path) -> Iterator[str]:
    get("debian.sh", folder, "prometheus", "prometheus-alertmanager")
    # Readings of long ago are counted and nothing else, so that a burst is no flood of dead letters.
    variables = {f"TIDECAST__STREAMS__{STREAM.upper()}__LATE": "count"}
    with Watched(folder, scaled(SCALE), variables=variables) as stage:
        stage.begin_worker()
        stage.begin_producer(RATE)
        stays_calm(stage, CALM_S, CALM_WITHIN_S, but=frozenset({"TidecastDriftStorm"}))
        yield (
            f"durations divided by {SCALE}; while all is well nothing fires for {CALM_S} s "
            "(drift left out: weeks pass in a minute)"
        )
        bursts = Bursts(stage)
        fired_s = fires(stage, SLOW, goes_on=bursts.go_on, within_s=FIRE_S)
        late = share_late(stage, "6h")
        cleared_s = clears(stage, SLOW, within_s=CLEAR_S)
        yield (
            f"{bursts.count} bursts of up to {bursts.size:,} readings, {late:.1%} of six hours late: {SLOW} fires "
            f"after {fired_s:.0f} s without {FAST}, and ends {cleared_s:.0f} s after that"
        )


def share_late(stage: Watched, window: str) -> float:
    found = stage.query(f"tidecast:late:ratio_{window}")
    return float(found[0]["value"][1]) if found else 0.0


class Bursts:
    """An hour apart at least, and as large that the worker's gauges, set once a second, see one of them."""

    def __init__(self, stage: Watched) -> None:
        self._stage = stage
        self._sent = time.monotonic() + WEIGHS_LITTLE_S - CALM_S - HOUR_S
        self.size, self.count = BURST, 0

    def go_on(self) -> None:
        expect(FAST not in self._stage.firing(), f"expected {FAST} to stay silent, found it firing")
        if time.monotonic() - self._sent < HOUR_S or share_late(self._stage, "6h") >= LATE_SHARE:
            return
        while not self._was_late():
            self.size = round(self.size * LARGER)
        self._sent = time.monotonic()
        self.count += 1

    def _was_late(self) -> bool:
        self._stage.send(LATE_READING, times=self.size)
        time.sleep(SEEN_S)
        found = self._stage.query(f"max_over_time(tidecast:late[{SEEN_S}s]) > 0")
        return bool(found)
