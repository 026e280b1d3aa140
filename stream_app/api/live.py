"""What only the live page asks for, beside the API: figures as plotly draws them, and sections of the gate's report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Query, Response

from model_core.arrays import FloatArray
from stream_app.api import reading
from stream_app.api.fetching import Unavailable
from stream_app.api.reading import NotThere
from stream_app.api.routes import Known
from stream_app.api.view import StreamView
from stream_app.pages import shell
from stream_app.pages.plots import FORECAST, NAIVE_A, Fan, Figure, live_figure, over_time_figure
from stream_app.pages.training_page import training_document

PAST_HORIZONS = 4  # of values drawn, at least this many and 2 of the horizon's
PAST_STEPS_MIN = 96
ASSETS = {
    "style.css": "text/css; charset=utf-8",
    "live.css": "text/css; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    shell.PLOTLY: "text/javascript; charset=utf-8",
}


class _Forecast(msgspec.Struct):
    """What is drawn of a published forecast."""

    origin: str
    step_ms: int
    quantile_levels: list[float]
    quantiles: list[list[float | None]]
    model: str | None = None
    status: str = "ok"
    reason: str | None = None


_decode = msgspec.json.Decoder(_Forecast).decode


def router(known: Known) -> APIRouter:
    routes = APIRouter(prefix="/page", include_in_schema=False)

    @routes.get("/{stream}/series")
    def series(stream: str, series_id: Annotated[str, Query(max_length=1024)]) -> Response:
        return _json(series_parts(known, known.view(stream), series_id))

    @routes.get("/{stream}/over-time")
    def over_time(stream: str) -> Response:
        return _json(_over_time(known.view(stream), None))

    @routes.get("/{stream}/models/{version}")
    def report(stream: str, version: str) -> Response:
        found = known.models.report(known.view(stream).name, version)
        if "gate" not in found:
            raise NotThere(f"Model {version[:200]} of {stream} has no report of how it was judged.")
        return _json(asdict(training_document(stream, found)))

    return routes


def series_parts(known: Known, view: StreamView, series_id: str) -> dict[str, Any]:
    """All that the page shows of one series. Without Kafka the forecasts are missing, and `trouble` says so."""
    facts = reading.one_series(view, series_id)
    trouble: str | None = None
    found: tuple[bytes | None, bytes | None] = (None, None)
    try:
        found = reading.fan_forecasts(view, known.fetcher, series_id)
    except (Unavailable, NotThere) as error:
        trouble = str(error)
    newest, earlier = (_decode(value) if value is not None else None for value in found)
    return {
        "facts": facts.model_dump(mode="json"),
        "fan": _fan(view, series_id, newest, earlier),
        "forecast": msgspec.to_builtins(newest),
        "earlier_origin": earlier.origin if earlier else None,
        "over_time": _over_time(view, series_id),
        "drift": [each.model_dump(mode="json") for each in reading.drift_answer(view, series_id, 20)],
        "trouble": trouble,
    }


def _fan(view: StreamView, series_id: str, newest: _Forecast | None, earlier: _Forecast | None) -> Figure:
    shown = max(PAST_STEPS_MIN, PAST_HORIZONS * view.spec.horizon)
    with view.lock:
        ticks, values = reading.recent_values(view, reading.column_of(view, series_id), shown)
    begun = int(np.argmax(np.isfinite(values))) if len(values) else 0
    ticks, values = ticks[begun:], values[begun:]
    times = view.spec.grid.starts_ms(ticks)
    levels = newest.quantile_levels if newest else view.spec.quantile_levels
    names = ((f"{view.spec.horizon} steps ago", NAIVE_A, earlier), ("newest forecast", FORECAST, newest))
    fans = [(name, color, _as_fan(each)) for name, color, each in names if each is not None]
    # One that ends before what is shown begins would press all of it to the edge.
    begins = int(times[0]) if len(times) else 0
    fans = [each for each in fans if each[2].origin_ms + view.spec.horizon * view.spec.step_ms >= begins]
    return live_figure(times, values, levels, view.spec.step_ms, fans)


def _as_fan(forecast: _Forecast) -> Fan:
    nothing: FloatArray = np.empty(0)
    origin = np.datetime64(forecast.origin.rstrip("Z"), "ms").astype(np.int64)
    return Fan(int(origin), np.array(forecast.quantiles, np.float64), nothing, nothing)


def _over_time(view: StreamView, series_id: str | None) -> dict[str, Any]:
    found = reading.accuracy_answer(view, series_id)
    times = np.array([point.at.timestamp() * 1000 for point in found.over_time]).astype(np.int64)
    coverage, skill = (
        np.array([getattr(point, name) for point in found.over_time], np.float64) for name in ("coverage", "skill")
    )
    figure = over_time_figure(times, coverage, skill, found.interval)
    return {"figure": figure, "points": len(times), "coverage": found.coverage, "skill": found.skill}


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
