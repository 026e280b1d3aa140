"""Server-sent events: which parts have changed, at most once a second. A page then asks for the parts that it shows.

While workers catch up, a page should ask seldom. Then only a change of this process's own state is sent at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from stream_app.api.routes import Known

EVERY_S = 1.0
LATE_TURNS = 5  # between two events while the page gives way
SILENT_TURNS_MAX = 15  # then a comment, so that proxies do not take the silence for the end


def router(known: Known, listeners_max: int) -> APIRouter:
    routes = APIRouter(prefix="/api/v1")
    listening = Listening(listeners_max)

    @routes.get(
        "/events",
        summary="Server-sent events: a JSON object whenever something has changed, at most once a second.",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def events(stream: str, series_id: Annotated[str | None, Query(max_length=1024)] = None) -> StreamingResponse:
        known.view(stream)
        listening.take()
        return StreamingResponse(
            listening.until_gone(_changes(known, stream, series_id)), media_type="text/event-stream"
        )

    return routes


class Listening:
    """Counts the listening pages. Only the event loop calls it."""

    def __init__(self, listeners_max: int) -> None:
        self._max = listeners_max
        self._count = 0

    def take(self) -> None:
        if self._count >= self._max:
            raise HTTPException(503, f"{self._max} pages are being kept up to date already (api.listeners_max).")
        self._count += 1

    async def until_gone(self, told: AsyncIterator[str]) -> AsyncIterator[str]:
        try:
            async for each in told:
                yield each
        finally:
            self._count -= 1


async def _changes(known: Known, stream: str, series_id: str | None) -> AsyncIterator[str]:
    said: dict[str, Any] = {}
    silent = 0
    while True:
        found = _state(known, stream, series_id)
        if found != said and _is_due(found, said, silent):
            said, silent = found, 0
            yield f"data: {json.dumps(found)}\n\n"
        elif (silent := silent + 1) >= SILENT_TURNS_MAX:
            silent = 0
            yield ": still here\n\n"
        await asyncio.sleep(EVERY_S)


def _is_due(found: dict[str, Any], said: dict[str, Any], silent: int) -> bool:
    """`silent`: turns since an event was sent."""
    if not found["gives_way"] or silent >= LATE_TURNS - 1:
        return True
    return any(found[name] != said.get(name) for name in ("reasons", "gives_way"))


def _state(known: Known, stream: str, series_id: str | None) -> dict[str, Any]:
    """Read without the lock: numbers of slightly different moments do no harm here."""
    view = known.views[stream]
    state: dict[str, Any] = {"reasons": known.readiness.reasons, "gives_way": known.gives_way}
    state |= {"passed_over": known.passed_over, "version": view.version, "series": None}
    column = view.roster.find(series_id) if series_id is not None else None
    if column is not None:
        newest_forecast = int(view.forecasts.count(column))
        state["series"] = [int(view.cells.newest[column]), newest_forecast, int(view.drifts[column])]
    return state
