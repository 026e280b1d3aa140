"""Runs the app in this process: event loop, signals, exit code."""

from __future__ import annotations

import faulthandler
import gc
import logging
import sys
from typing import TYPE_CHECKING

import faust
import structlog

from model_core.errors import NoDevice
from model_core.libraries import library_of
from stream_app.app import create_app
from stream_app.errors import TidecastError
from stream_app.observability.logs import configure_logs
from stream_app.runtime.memory import few_arenas

if TYPE_CHECKING:
    from stream_app.settings import Settings

log = structlog.get_logger(__name__)
FAILED = 1
SWITCH_S = 0.001  # the default is 5 ms


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT (exit code 0) or a failure (1). Raises SystemExit."""
    if not settings.streams:
        raise TidecastError("streams: expected at least one [streams.NAME] with topic and freq, found none.")
    settings.require_properties()
    try:
        library_of(settings.device)
    except NoDevice as error:
        raise TidecastError(str(error)) from None
    configure_logs(settings.log_level, json=settings.log_format == "json")
    faulthandler.enable()  # a crash in a library says where, instead of nothing
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # what they have to say of a failure, we have said
    # A poll batch makes tens of thousands of objects that live for milliseconds: looking for cycles there is waste.
    gc.set_threshold(100_000, 50, 100)
    # A transaction passes from thread to thread some ten times, and each may wait that long for the interpreter's lock.
    sys.setswitchinterval(SWITCH_S)
    few_arenas()
    app = create_app(settings)
    host = faust.Worker(app, quiet=True, redirect_stdouts=False, override_logging=False)
    host.spinner = None
    code = FAILED
    try:
        host.execute_from_commandline()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    if not app.data_plane.stopped_cleanly:
        _leave_threads_behind(max(code, FAILED))
    raise SystemExit(code)


def _leave_threads_behind(code: int) -> None:
    """A thread hangs in a call on a broker that is away; the interpreter would wait for it, or crash."""
    import os

    os._exit(code)
