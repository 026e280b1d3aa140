"""StreamSpec: the one model of a stream's configuration. The settings nest it, nothing repeats it.

Each field says what it means and what changing it means (setting.py).
"""

import hashlib
import json
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

from pydantic import model_validator

from model_core.durations import DurationMs
from model_core.grid import DAY_MS, WEEK_MS, Grid
from model_core.setting import Strict, extra_of, leave_out_unused_additions, setting

Aggregate = Literal["mean", "sum", "last", "min", "max", "count"]
Fill = Literal["forward", "interpolate", "zero"]
CalendarFeature = Literal["hour_of_day", "day_of_week", "holidays"]
SCORED_HORIZONS = (1, 2, 3, 6, 12, 24, 48, 96)
# Rows beyond what windows need, so that ticks settled between two checkpoints are written ahead of the live ones.
_SPARE_ROWS = 64
_FORGET_AFTER_MS = 30 * DAY_MS
DEMAND_AGGREGATES = ("sum", "count")
OUTPUT_KINDS = ("forecasts", "accuracy", "drift", "dead_letters", "journal", "control")  # topics of a stream


class FieldMapping(Strict):
    """Where a producer's JSON keeps things: dotted paths."""

    series_id: str = setting("series_id", "rebuild", "Path of the series id; absent in a message: the message key.")
    entity: str = setting("entity", "rebuild", "Path of the entity of a pack.")
    timestamp: str = setting("timestamp", "rebuild", "Path of the event time; absent in a message: Kafka's own.")
    value: str = setting("value", "rebuild", "Path of a single reading's value.")
    values: str = setting("values", "rebuild", "Path of a pack's object of variable → value.")


class Outputs(Strict):
    """Topics that a stream publishes to."""

    prefix: str | None = setting(None, "new stream", "Prefix of the output topics; default: the stream's name.")
    forecasts: str | None = setting(None, "new stream", "Topic of forecasts; default PREFIX.forecasts.")
    accuracy: str | None = setting(None, "new stream", "Topic of accuracy records; default PREFIX.accuracy.")
    drift: str | None = setting(None, "new stream", "Topic of drift records; default PREFIX.drift.")
    dead_letters: str | None = setting(None, "new stream", "Topic of unusable input; default PREFIX.dead-letters.")
    journal: str | None = setting(None, "new stream", "Topic of decisions for replays; default PREFIX.journal.")
    control: str | None = setting(None, "restart", "Topic of what workers tell the trainer; default PREFIX.control.")
    format: Literal["json", "avro"] = setting(
        "json", "new stream", "Format of forecasts, accuracy and drift; avro needs a schema registry."
    )

    def topic(self, kind: str, stream: str) -> str:
        """`kind` is one of OUTPUT_KINDS."""
        return getattr(self, kind) or f"{self.prefix or stream}.{kind.replace('_', '-')}"


class Override(Strict):
    """Settings of the series that match a pattern; never shapes."""

    match: str = setting(..., "rebuild", "Shell-style pattern of series ids, e.g. *.temp; the first match counts.")
    aggregate: Aggregate | None = setting(None, "rebuild", "How a cell's readings combine.")
    fill: Fill | None = setting(None, "rebuild", "How missing cells are filled for models.")
    lower_bound: float | None = setting(None, "rebuild", "Forecasts are never below this.")
    upper_bound: float | None = setting(None, "rebuild", "Forecasts are never above this.")


class StreamSpec(Strict):
    """One configured input topic with its grid and model."""

    topic: str = setting(..., "new stream", "The input topic of readings.")
    freq: DurationMs = setting(..., "new stream", "The grid step, 1s to 1d.", ge=1000, le=DAY_MS)
    timezone: str | None = setting(None, "new stream", "IANA zone of day grids: days are then local.")
    format: Literal["json", "senml", "avro", "json_schema"] = setting("json", "restart", "Format of the input topic.")
    reader_schema: str | None = setting(
        None, "restart", "File of an Avro schema to resolve readings to: its aliases and defaults hold for all writers."
    )
    fields: FieldMapping = setting(FieldMapping(), "rebuild", "Where the producers' JSON keeps things.")
    timestamp_unit: Literal["s", "ms", "us", "ns"] = setting("ms", "rebuild", "Unit of numeric timestamps.")
    include: tuple[str, ...] = setting(("*",), "rebuild", "Patterns of the series ids to take; others are ignored.")
    entity_separator: str = setting(".", "rebuild", "series_id = entity + separator + variable.", min_length=1)

    context_length: int = setting(512, "rebuild", "Steps a forecast looks back (L).", ge=4, le=65_536)
    horizon: int = setting(24, "new stream", "Steps a forecast looks ahead (H).", ge=1, le=4_096)
    forecast_every: int = setting(1, "rebuild", "A forecast is due at ticks that are a multiple of this.", ge=1)
    quantile_levels: tuple[float, ...] = setting(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), "new stream", "Probabilities of the published quantiles."
    )
    aggregate: Aggregate = setting("mean", "rebuild", "How the readings of a cell combine.")
    readings_per_step: int | None = setting(
        None, "rebuild", "Readings that complete a cell (1: a reading is forecast at once); unset: the watermark.", ge=1
    )
    fill: Fill | None = setting(
        None, "rebuild", "How missing cells are filled for models; default forward, for demand zero."
    )
    empty: Literal["zero", "missing"] | None = setting(
        None, "rebuild", "What a ready cell without readings counts as; default missing, for demand an observed zero."
    )
    lower_bound: float | None = setting(None, "rebuild", "Forecasts are never below this; default for demand 0.")
    upper_bound: float | None = setting(None, "rebuild", "Forecasts are never above this.")

    max_out_of_orderness: DurationMs | None = setting(
        None, "rebuild", "How far the watermark stays behind the newest event time; default one step.", ge=0
    )
    allowed_lateness: DurationMs = setting(0, "rebuild", "How long a settled cell may still be corrected.", ge=0)
    late: Literal["dead_letter", "count"] = setting("dead_letter", "restart", "What becomes of a reading too late.")
    deduplicate: Literal["off", "timestamp"] = setting(
        "off", "rebuild", "Drop a second reading of a series with the same timestamp, within the lateness horizon."
    )
    idle_timeout: DurationMs | None = setting(
        None, "rebuild", "Wall clock without readings after which open cells close; off when absent.", ge=1
    )
    max_watermark_jump: DurationMs | None = setting(
        None, "rebuild", "A larger jump of event time needs confirmation; default 1d or 10 steps, the larger.", ge=1
    )
    max_future: DurationMs = setting(3_600_000, "restart", "How far ahead of its record a reading may be.", ge=0)
    min_timestamp: int = setting(0, "restart", "Readings before this (ms since the epoch) are dead letters.")
    min_readings: int = setting(8, "rebuild", "Readings a series needs before its first forecast.", ge=1)
    dormant_after: int | None = setting(
        None, "rebuild", "Empty ticks after which a series gets no forecasts; default max(L, 2 seasons).", ge=1
    )
    forget_after: DurationMs | None = setting(
        None,
        "rebuild",
        "Event time after which the state of a silent series is dropped; default 30d or dormant_after, the larger.",
        ge=1,
    )

    seasonality: tuple[DurationMs, ...] = setting((), "rebuild", "Season lengths as hints; found from data if absent.")
    targets: tuple[str, ...] = setting((), "rebuild", "Variables to forecast; empty: all that are not covariates.")
    past_covariates: tuple[str, ...] = setting((), "rebuild", "Variables of the same entity that help to forecast.")
    future_covariates: tuple[str, ...] = setting((), "rebuild", "Variables whose readings carry future timestamps.")
    future_ahead: int | None = setting(None, "rebuild", "Steps ahead that future covariates are kept; default 2 H.")
    monotone: dict[str, Literal["rising", "falling"]] = setting(
        {}, "restart", "Covariates that forecasts must rise or fall with; a model that ignores one is refused."
    )
    calendar: tuple[CalendarFeature, ...] = setting(
        ("hour_of_day", "day_of_week"), "restart", "Calendar features offered to the models."
    )
    holidays: str | None = setting(None, "restart", "Country code whose public holidays are a calendar feature.")

    overrides: tuple[Override, ...] = setting((), "rebuild", "Settings for the series that match a pattern.")
    outputs: Outputs = setting(Outputs(), "new stream", "Topics that the stream publishes to.")
    accuracy: Literal["records", "summary"] = setting(
        "summary", "rebuild", "Accuracy records: one for each forecast, or only a summary of each series every season."
    )
    calibration_rate: float = setting(
        0.005, "rebuild", "Step of the interval tracker; .02 and more is unstable under delayed labels.", gt=0, lt=0.02
    )
    model: Literal["ridge", "patch_mixer", "auto"] = setting(
        "ridge",
        "restart",
        "What `tidecast train` fits: ridge, patch_mixer (ridge and a small network that corrects it; training takes "
        "two to three times as long), or auto: the network where it errs 2 % less. Demand has a model of its own.",
    )
    training_half_life: DurationMs | None = setting(
        None,
        "restart",
        "Age at which a window counts half as much in training, for streams that change; unset: all count alike.",
        ge=1,
    )
    training_recent: DurationMs | None = setting(
        None,
        "restart",
        "How much of the newest event time training keeps as cells, for choices, quantiles, thresholds and the gate; "
        "older windows are kept as sums. Default 107 weeks (or horizons, if longer), 250,000 steps at most.",
        ge=1,
    )
    corrector_steps: int = setting(
        0,
        "rebuild",
        "Steps ahead up to which a series' forecasts are corrected by what the model keeps getting wrong; 0: off.",
        since=3,
        ge=0,
    )
    drift_report_every: DurationMs = setting(DAY_MS, "restart", "Event time between drift summaries.", ge=1000)
    rebuild_context: DurationMs | None = setting(
        None,
        "restart",
        "How much log a lost state is rebuilt from if the log has lost its beginning; default what fills the windows.",
        ge=1,
    )
    emit_from: int | None = setting(None, "restart", "Origins before this (ms since the epoch) build state only.")
    dead_letter_limit: float = setting(0.5, "restart", "Share of malformed input that pauses a partition.", gt=0, le=1)
    dead_letter_window: int = setting(1000, "restart", "Messages over which that share is taken.", ge=10)
    dead_letter_bytes_max: int = setting(65_536, "restart", "Bytes of an unusable value that are kept.", ge=1024)
    reading_bytes_max: int = setting(1_048_576, "restart", "Larger messages are dead letters.", ge=1024)

    @model_validator(mode="after")
    def _consistent(self) -> "StreamSpec":
        levels = self.quantile_levels
        if not levels or list(levels) != sorted(set(levels)) or levels[0] <= 0 or levels[-1] >= 1:
            raise ValueError(f"quantile_levels: expected rising probabilities inside (0, 1), found {list(levels)}")
        if 0.5 not in levels:
            raise ValueError("quantile_levels: 0.5 must be among them, it is the published point")
        if self.timezone is not None and self.freq != DAY_MS:
            raise ValueError("timezone: only day grids (freq = 1d) are local; leave it out for smaller steps")
        if self.lower_bound is not None and self.upper_bound is not None and self.lower_bound >= self.upper_bound:
            raise ValueError(f"lower_bound {self.lower_bound} must be below upper_bound {self.upper_bound}")
        bounds = {"lower_bound": self.lower_bound} | {
            f"overrides: {r.match}: lower_bound": r.lower_bound for r in self.overrides
        }
        for where, bound in bounds.items():
            if self.is_demand and bound is not None and bound < 0:
                raise ValueError(
                    f"{where} {bound}: demand (aggregate {self.aggregate}) is never below 0; what can be negative is "
                    "no demand, give it a stream with another aggregate"
                )
        both = set(self.past_covariates) & set(self.future_covariates)
        if both or set(self.targets) & (set(self.past_covariates) | set(self.future_covariates)):
            raise ValueError(f"targets, past_covariates and future_covariates must not share variables {sorted(both)}")
        if unknown := sorted(set(self.monotone) - {*self.past_covariates, *self.future_covariates}):
            raise ValueError(f"monotone: {unknown} are not among past_covariates and future_covariates")
        if self.is_demand and self.readings_per_step is not None:
            raise ValueError("readings_per_step: demand (aggregate sum or count) is closed by the watermark only")
        for rule in self.overrides:
            if rule.aggregate in DEMAND_AGGREGATES and not self.is_demand:
                raise ValueError(
                    f"overrides: {rule.match} is demand (aggregate {rule.aggregate}) in a stream of sensors "
                    f"(aggregate {self.aggregate}); give demand a stream of its own"
                )
        for season in self.seasonality:
            if season % self.freq or season < 2 * self.freq:
                raise ValueError(f"seasonality: {season} ms is not a multiple (2 or more) of freq {self.freq} ms")
        return self

    @property
    def is_demand(self) -> bool:
        return self.aggregate in DEMAND_AGGREGATES

    @cached_property
    def grid(self) -> Grid:
        return Grid(self.freq, self.timezone)

    @property
    def step_ms(self) -> int:
        return self.freq

    @cached_property
    def season_ticks(self) -> tuple[int, ...]:
        """Hinted season lengths in ticks, rising; empty when none is hinted."""
        return tuple(sorted(season // self.freq for season in self.seasonality))

    @cached_property
    def default_season(self) -> int:
        """Ticks of the season before a model says better: the shortest hint, else a day (a week on day grids)."""
        if self.season_ticks:
            return self.season_ticks[0]
        period = WEEK_MS if self.freq == DAY_MS else DAY_MS
        return max(2, period // self.freq)

    @cached_property
    def longest_season(self) -> int:
        """Longest season in ticks that the ring must hold. A year of seconds is not held: bounded by 4 L."""
        calendar = WEEK_MS // self.freq
        hinted = max(self.season_ticks, default=0)
        return max(hinted, min(max(calendar, self.default_season), max(4 * self.context_length, self.default_season)))

    @cached_property
    def out_of_orderness_ms(self) -> int:
        return self.freq if self.max_out_of_orderness is None else self.max_out_of_orderness

    @cached_property
    def watermark_jump_ms(self) -> int:
        return max(DAY_MS, 10 * self.freq) if self.max_watermark_jump is None else self.max_watermark_jump

    @cached_property
    def dormant_ticks(self) -> int:
        return self.dormant_after or max(self.context_length, 2 * self.default_season)

    @property  # not cached: training copies the specification with another forget_after
    def forget_ticks(self) -> int:
        """Ticks without a reading after which a series' state goes; a slow mover on a day grid is no dead sensor."""
        if self.forget_after is None:
            return max(self.grid.steps(_FORGET_AFTER_MS), self.dormant_ticks)
        return self.grid.steps(self.forget_after)

    @cached_property
    def known_ahead(self) -> int:
        """Ticks after the watermark for which future covariates are kept."""
        return max(self.horizon, self.future_ahead or 2 * self.horizon) if self.future_covariates else 0

    @property
    def training_decay(self) -> float:
        """By how much a window counts less in training with each tick of its age."""
        return 1.0 if self.training_half_life is None else 0.5 ** (self.freq / self.training_half_life)

    @cached_property
    def scored_horizons(self) -> tuple[int, ...]:
        return tuple(sorted({h for h in SCORED_HORIZONS if h < self.horizon} | {self.horizon}))

    @cached_property
    def report_ticks(self) -> int:
        """Ticks between drift summaries."""
        return max(1, self.grid.steps(self.drift_report_every))

    @cached_property
    def open_ticks(self) -> int:
        """Ticks that may be open at once: those whose end is after the watermark."""
        local_days = 1 if self.timezone else 0  # a local day may have 23 hours
        return self.grid.steps(self.out_of_orderness_ms) + 2 + local_days

    @cached_property
    def late_ticks(self) -> int:
        """Settled ticks that a reading may still correct; an idle close settles ticks ahead of the watermark."""
        late = self.grid.steps(self.allowed_lateness) + 1 if self.allowed_lateness else 0
        return late + (self.open_ticks if self.idle_timeout else 0)

    @cached_property
    def needed_ticks(self) -> int:
        """Settled ticks that are looked back at: by windows, and by a settled cell at the one a season before it."""
        return max(self.context_length, self.longest_season + 1)

    @cached_property
    def ring_capacity(self) -> int:
        """Rows of the ring: two ticks that may be alive at once never share one."""
        ahead = self.horizon + self.known_ahead + self.open_ticks + _SPARE_ROWS
        return self.needed_ticks + self.forecast_every + self.late_ticks + ahead

    @cached_property
    def rebuild_ms(self) -> int:
        """How far before the newest answered reading a lost state is rebuilt from: all that a window can hold."""
        return self.ring_capacity * self.freq if self.rebuild_context is None else self.rebuild_context

    def override_of(self, series_id: str) -> Override | None:
        return next((rule for rule in self.overrides if fnmatchcase(series_id, rule.match)), None)

    def includes(self, series_id: str) -> bool:
        return any(fnmatchcase(series_id, pattern) for pattern in self.include)

    def split(self, series_id: str) -> tuple[str, str]:
        """(entity, variable); the variable is empty when the series id is the entity alone."""
        entity, _, variable = series_id.rpartition(self.entity_separator)
        return (entity, variable) if entity else (series_id, "")

    def role(self, variable: str) -> Literal["target", "past", "future", "none"]:
        if variable in self.future_covariates:
            return "future"
        if variable in self.past_covariates:
            return "past"
        return "target" if not self.targets or variable in self.targets else "none"

    def fingerprint(self) -> str:
        """Identity of what the state means: changes with every setting whose change is not `restart`."""
        values = self.model_dump(mode="json")
        leave_out_unused_additions(self, values)
        kept = {name: value for name, value in values.items() if extra_of(self, name)["change"] != "restart"}
        kept.pop("outputs", None)
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
