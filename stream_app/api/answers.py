"""What the API answers, as pydantic models: the OpenAPI document is made from them. Times are RFC 3339 UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

Number = float | None  # null where it is not known


class Refused(BaseModel):
    """The body of every error."""

    detail: str = Field(description="One sentence: what was expected, what was found, what to do.")


class Status(BaseModel):
    ready: bool
    reasons: dict[str, str] = Field(description="Why it is not ready, one sentence each.")
    version: str
    streams: list[str]
    passed_over: int = Field(description="Messages that were not read because this process was too far behind.")
    gives_way: bool = Field(description="Workers catch up with a backlog; answers may be late for their sake.")


class Stream(BaseModel):
    stream: str
    topic: str
    step_ms: int
    horizon: int
    quantile_levels: list[float]
    series: int
    series_max: int
    is_full: bool = Field(description="There are more series than api.series_max; they are not shown.")
    statuses: dict[str, int] = Field(description="How many series have each status.")
    drifting: int
    newest_reading: datetime | None = Field(description="Start of its tick.")
    newest_origin: datetime | None
    interval: Number = Field(description="Nominal share of the widest central interval.")
    coverage: Number = Field(description="Running coverage of that interval, mean over series.")
    skill: Number = Field(description="Running, against the better naive forecast, mean over series.")
    fallback_share: Number = Field(description="Share of the newest forecasts that no model answered.")
    dead_letters: dict[str, int] = Field(description="Seen since this process started, by reason.")


class Series(BaseModel):
    series_id: str
    status: Literal["waiting", "ok", "fallback", "silent"] = Field(
        description="ok: the model answered; fallback: a rung below it; waiting: no forecast yet; "
        "silent: neither readings nor forecasts for a horizon."
    )
    last_value: Number
    last_tick: datetime | None
    newest_origin: datetime | None
    model: str | None
    reason: str | None = Field(description="Why the model did not answer.")
    coverage: Number
    skill: Number
    mase: Number
    drift: Literal["none", "ok", "warning", "drift"]


class SeriesPage(BaseModel):
    total: int = Field(description="How many series match; `series` is a part of them.")
    offset: int
    series: list[Series]


class Values(BaseModel):
    """Ticks without a reading have no entry."""

    series_id: str
    times: list[datetime]
    values: list[float]


class AccuracyPoint(BaseModel):
    at: datetime
    coverage: Number
    skill: Number


class Accuracy(BaseModel):
    series_id: str | None = Field(
        description="null: the mean over the series of the stream (over time: 2,000 at most)."
    )
    interval: Number
    coverage: Number = Field(description="Running, as last published.")
    skill: Number
    mase: Number
    over_time: list[AccuracyPoint]


class DriftEvent(BaseModel):
    series_id: str | None
    group: str | None
    detector: str
    state: str
    statistic: Number
    threshold: Number
    scale: Number = Field(description="Of a series: size of its recent errors over their usual size.")
    bias: Number = Field(description="Of a series: mean of its recent errors over their size.")
    at: datetime
    since: datetime


class DeadLetter(BaseModel):
    reason: str
    detail: str
    topic: str
    partition: int | None
    offset: int | None
    key: str | None
    value: str | None = Field(description="The beginning of the value.")
    bytes: int
    at: str


class Model(BaseModel):
    version: str
    aliases: list[str] = Field(description="champion, candidate, previous")
    model: str | None
    passed: bool | None = Field(description="Whether the gate let it take charge; null: it was not judged.")
    reason: str | None
    problem: str | None = Field(description="Why it cannot be read.")
    series: int | None
    windows: int | None
    scaled_pinball: dict[str, Number]
    has_report: bool
