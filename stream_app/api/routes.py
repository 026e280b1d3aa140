"""The JSON API: what a program asks. Its document is /openapi.json, made from these functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime

from stream_app.api import answers, reading
from stream_app.api.fetching import Fetcher
from stream_app.api.following import Following
from stream_app.api.reading import NotThere
from stream_app.api.registry import Models
from stream_app.api.view import StreamView
from stream_app.observability.health import Readiness
from stream_app.schemas.message_schemas import ForecastMessage

Name = Annotated[str, Path(description="Name of the stream in the configuration.")]
SeriesId = Annotated[str, Query(description="As in the messages.", max_length=1024)]
OneOrAll = Annotated[str | None, Query(description="Only this series.", max_length=1024)]
StatusFilter = Literal["waiting", "ok", "fallback", "silent", "drift"]
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": answers.Refused, "description": text}
    for code, text in (
        (401, "The token is missing or wrong."),
        (404, "There is nothing under this name; the sentence says why."),
        (422, "A parameter is not what it should be."),
        (429, "Too many requests."),
        (503, "Kafka does not answer."),
    )
}


class Known:
    """What the routes answer from."""

    def __init__(
        self, views: Mapping[str, StreamView], fetcher: Fetcher, models: Models, readiness: Readiness, version: str
    ) -> None:
        self.views, self.fetcher, self.models, self.readiness, self.version = views, fetcher, models, readiness, version
        self.following: Following | None = None

    def view(self, stream: str) -> StreamView:
        if stream not in self.views:
            raise NotThere(f"There is no stream {stream[:200]!r} here, but {', '.join(self.views)}.")
        return self.views[stream]

    def status(self) -> answers.Status:
        reasons = self.readiness.reasons
        return answers.Status(
            ready=not reasons,
            reasons=reasons,
            version=self.version,
            streams=list(self.views),
            passed_over=self.passed_over,
            gives_way=self.gives_way,
        )

    @property
    def passed_over(self) -> int:
        return self.following.passed_over if self.following is not None else 0

    @property
    def gives_way(self) -> bool:
        return self.following is not None and self.following.gives_way


def router(known: Known) -> APIRouter:
    routes = APIRouter(prefix="/api/v1", responses=REFUSALS)
    _add_streams(routes, known)
    _add_series(routes, known)
    _add_events_and_models(routes, known)
    return routes


def _add_streams(routes: APIRouter, known: Known) -> None:
    @routes.get("/status", summary="Whether the answers are current, and if not, why.")
    def status() -> answers.Status:
        return known.status()

    @routes.get("/streams", summary="All streams.")
    def streams() -> list[answers.Stream]:
        return [reading.stream_answer(view) for view in known.views.values()]

    @routes.get("/streams/{stream}", summary="One stream: how many series, and how good.")
    def stream(stream: Name) -> answers.Stream:
        return reading.stream_answer(known.view(stream))

    @routes.get("/streams/{stream}/series", summary="Series, searched and sorted.")
    def series(
        stream: Name,
        search: Annotated[str, Query(description="A part of the series id.", max_length=1024)] = "",
        status: StatusFilter | None = None,
        sort: reading.Sort = "name",
        descending: bool = False,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> answers.SeriesPage:
        view = known.view(stream)
        return reading.series_page(
            view, search=search, status=status, sort=sort, descending=descending, offset=offset, limit=limit
        )


def _add_series(routes: APIRouter, known: Known) -> None:
    @routes.get("/streams/{stream}/values", summary="The readings of a series, cell by cell, newest last.")
    def values(
        stream: Name, series_id: SeriesId, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
    ) -> answers.Values:
        return reading.values_answer(known.view(stream), series_id, limit)

    @routes.get(
        "/streams/{stream}/forecast",
        summary="The newest forecast of a series, or the newest one as of a past time.",
        response_model=ForecastMessage,
    )
    def forecast(
        stream: Name,
        series_id: SeriesId,
        as_of: Annotated[
            AwareDatetime | None,
            Query(description="Event time, RFC 3339: the newest forecast with an origin not after it."),
        ] = None,
    ) -> Response:
        value = reading.forecast_as_of(known.view(stream), known.fetcher, series_id, as_of)
        return Response(value, media_type="application/json")

    @routes.get("/streams/{stream}/accuracy", summary="Accuracy and coverage over time, of a series or of the stream.")
    def accuracy(stream: Name, series_id: OneOrAll = None) -> answers.Accuracy:
        return reading.accuracy_answer(known.view(stream), series_id)


def _add_events_and_models(routes: APIRouter, known: Known) -> None:
    @routes.get("/streams/{stream}/drift", summary="Drift that began or ended, newest first.")
    def drift(
        stream: Name, series_id: OneOrAll = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> list[answers.DriftEvent]:
        return reading.drift_answer(known.view(stream), series_id, limit)

    @routes.get("/streams/{stream}/dead-letters", summary="Input that could not be used, newest first.")
    def dead_letters(stream: Name, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[answers.DeadLetter]:
        return reading.dead_letters(known.view(stream), limit)

    @routes.get("/streams/{stream}/models", summary="Models of a stream, newest first.")
    def models(stream: Name) -> list[answers.Model]:
        return known.models.answer(known.view(stream).name)

    @routes.get("/streams/{stream}/models/{version}", summary="How a model was judged, as training reported it.")
    def report(stream: Name, version: str) -> dict[str, Any]:
        return dict(known.models.report(known.view(stream).name, version))
