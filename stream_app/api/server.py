"""The process: settings → views, the thread that follows the topics, and an HTTP server until it is told to stop."""

from __future__ import annotations

import asyncio
import gzip
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse

from stream_app.api import events, live, routes
from stream_app.api.fetching import Fetcher, Unavailable
from stream_app.api.following import Following
from stream_app.api.guard import Guard, require_safe
from stream_app.api.reading import NotThere
from stream_app.api.registry import Models
from stream_app.api.view import StreamView
from stream_app.errors import TidecastError
from stream_app.observability.health import Readiness, listen
from stream_app.observability.logs import configure_logs
from stream_app.pages import shell
from stream_app.runtime.giving_way import give_way
from stream_app.settings.secrets import hidden

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
STOP_WAIT_S = 2
REQUESTS_AT_ONCE_MAX = 200


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises TidecastError when it cannot begin."""
    settings.require_properties()
    configure_logs(settings.log_level, json=settings.log_format == "json")
    if not settings.streams:
        raise TidecastError("streams: expected at least one [streams.NAME] to show, found none.")
    require_safe(settings.api)
    give_way(settings.api.nice)
    listening = listen(settings.api.host, settings.api.port, "api")
    host, port = settings.api.host, listening.getsockname()[1]
    log.info("started", http=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    asyncio.run(_serve(create(settings), listening))
    log.info("stopped")


def create(settings: Settings) -> FastAPI:
    """The application. Following begins when it is served."""
    views = {name: StreamView(name, spec, settings.api) for name, spec in settings.streams.items()}
    readiness, fetcher = Readiness(), Fetcher(settings)
    known = routes.Known(views, fetcher, Models(settings), readiness, version("tidecast"))
    known.following = following = Following(settings, views, readiness)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following.start()
        yield
        await asyncio.to_thread(following.stop, STOP_WAIT_S)
        await asyncio.to_thread(fetcher.close)

    app = FastAPI(
        title="tidecast",
        version=known.version,
        description="Forecasts, their accuracy, drift, models and dead letters of a deployment, read-only.",
        docs_url=None,  # its pages would ask another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.include_router(routes.router(known))
    app.include_router(events.router(known, settings.api.listeners_max))
    app.include_router(live.router(known))
    _add_page(app)
    _add_health(app, known)
    app.add_exception_handler(NotThere, _not_there)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_middleware(Guard, api=settings.api)
    return app


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(_page())

    @app.get("/assets/{name}", include_in_schema=False)
    def asset(name: str, request: Request) -> Response:
        if name not in live.ASSETS:
            raise HTTPException(404, f"There is no {name[:100]!r} here.")
        told = {"etag": _etag(name), "vary": "accept-encoding", "cache-control": "no-cache"}
        if name == shell.PLOTLY:
            told["cache-control"] = "public, max-age=86400"
        if request.headers.get("if-none-match") == told["etag"]:
            return Response(status_code=304, headers=told)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(_zipped(name), media_type=live.ASSETS[name], headers=told | {"content-encoding": "gzip"})
        return Response(shell.part(name), media_type=live.ASSETS[name], headers=told)


def _add_health(app: FastAPI, known: routes.Known) -> None:
    @app.get("/livez", include_in_schema=False)
    async def livez() -> dict[str, Any]:
        return {"live": True, "version": known.version}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        reasons = known.readiness.reasons
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


async def _serve(app: FastAPI, listening: Any) -> None:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=REQUESTS_AT_ONCE_MAX,
        timeout_graceful_shutdown=STOP_WAIT_S,
        ws="none",
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve(sockets=[listening])


class _Server(uvicorn.Server):
    """We handle the signals: uvicorn would raise them again when it has stopped, and so change the exit code."""

    def install_signal_handlers(self) -> None:
        pass

    def capture_signals(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()

    def stop(self) -> None:
        self.should_exit = True


@lru_cache(maxsize=1)
def _page() -> str:
    return shell.served("tidecast", shell.part("live.html"), ["live.js"], ["live.css"], "assets/")


@lru_cache(maxsize=len(live.ASSETS))
def _zipped(name: str) -> bytes:
    return gzip.compress(shell.part(name).encode(), 6, mtime=0)


@lru_cache(maxsize=len(live.ASSETS))
def _etag(name: str) -> str:
    import hashlib

    return f'"{hashlib.sha256(shell.part(name).encode()).hexdigest()[:16]}"'


async def _not_there(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": hidden(str(error))}, 404)


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": hidden(str(error))}, 503, {"retry-after": "2"})


async def _not_understood(_: Request, error: Exception) -> JSONResponse:
    """422 with one sentence for each problem, like all other errors."""
    assert isinstance(error, RequestValidationError)
    told = [f"{each['loc'][-1]}: {each['msg']}, found {str(each.get('input'))[:80]!r}" for each in error.errors()]
    return JSONResponse({"detail": "; ".join(told)}, 422)
