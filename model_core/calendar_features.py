"""Which calendar features the models of a stream get: those it names, and its country's public holidays."""

from datetime import date
from functools import lru_cache

from model_core.grid import Calendar, Grid
from model_core.spec import CalendarFeature, StreamSpec

FIRST_YEAR, LAST_YEAR = 1990, 2060


def calendar_features(spec: StreamSpec) -> tuple[CalendarFeature, ...]:
    """The stream's features; `holidays` is among them if and only if it names a country."""
    named = tuple(name for name in dict.fromkeys(spec.calendar) if name != "holidays")
    return (*named, "holidays") if spec.holidays else named


def calendar_of(grid: Grid, features: tuple[CalendarFeature, ...], country: str | None) -> Calendar:
    return Calendar(grid, features, _public_holidays(country) if country else frozenset())


@lru_cache(maxsize=8)
def _public_holidays(country: str) -> frozenset[date]:
    import holidays  # a tenth of a second, for streams that name a country

    return frozenset(holidays.country_holidays(country, years=range(FIRST_YEAR, LAST_YEAR + 1)))
