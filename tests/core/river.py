"""A seeded river: rain at each station drives its flow hours later, and flow has a daily rhythm of its own.

Storms come and go; in the wet season they are frequent. What falls passes the gauge over three days, most of it after
twelve to twenty hours, so that rain that has fallen says what is coming and rain that is forecast says more.
"""

from dataclasses import dataclass

import numpy as np

from model_core.arrays import FloatArray

WEEK = 168  # ticks, of an hour
SEASON_WEEKS = 4  # wet and dry weeks take turns
REACH = 72  # ticks until all of a shower has passed the gauge


@dataclass(frozen=True)
class River:
    """Of S stations over T hours: rain [T, S] in mm an hour, flow [T, S] in m³/s."""

    rain: FloatArray
    flow: FloatArray

    def outlook(self, seed: int) -> FloatArray:
        """[T, S], a forecast of the rain: right about when, wrong by half about how much."""
        return self.rain * np.random.default_rng(seed).lognormal(-0.125, 0.5, self.rain.shape)

    def wet_weeks(self, first: int) -> FloatArray:
        """bool [T, S]: hours from `first` on in weeks with more rain at the station than in its median week."""
        ticks, stations = self.rain.shape
        weeks = np.arange(ticks) // WEEK
        totals = np.zeros((weeks[-1] + 1, stations))
        np.add.at(totals, weeks, self.rain)
        wet = totals > np.median(totals, axis=0)
        return wet[weeks] & (np.arange(ticks) >= first)[:, None]


def river(seed: int, *, stations: int, weeks: int) -> River:
    rng, ticks = np.random.default_rng(seed), weeks * WEEK
    hours = np.arange(ticks)[:, None]
    rain = np.stack([_rain(rng, ticks) for _ in range(stations)], axis=1)
    after = np.arange(REACH)
    flow = np.empty((ticks, stations))
    for station in range(stations):
        peak, shape = rng.uniform(12, 20), 4.0
        passed = (after / peak) ** shape * np.exp(shape * (1 - after / peak))
        flow[:, station] = rng.uniform(1, 3) * np.convolve(rain[:, station], passed / passed.sum())[:ticks]
    rhythm = 1.5 * np.sin(2 * np.pi * (hours - rng.uniform(0, 24, stations)) / 24)
    noise = np.empty((ticks, stations))
    noise[0] = 0
    for tick in range(1, ticks):
        noise[tick] = 0.9 * noise[tick - 1] + rng.normal(0, 0.15, stations)
    return River(rain, 12 + rhythm + flow + noise)


def _rain(rng: np.random.Generator, ticks: int) -> FloatArray:
    """Storms of about nine hours, one in two days in the wet season, one in nine in the dry."""
    rain, storm = np.zeros(ticks), False
    for tick in range(ticks):
        wet_season = (tick // (SEASON_WEEKS * WEEK)) % 2 == 0
        starts, ends = (1 / 48 if wet_season else 1 / 216), 1 / 9
        storm = bool(rng.random() < (1 - ends if storm else starts))
        if storm:
            rain[tick] = rng.gamma(1.5, 2.0)
    return rain
