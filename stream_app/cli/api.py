"""`tidecast api`: the live page and the read-only HTTP API."""

from __future__ import annotations

from stream_app.cli.options import DEFAULT_FILE, Config


def api(
    config: Config = DEFAULT_FILE,
) -> None:
    """Serve the page and the API, until SIGTERM or Ctrl-C (exit code 0). docs/API.md"""
    from stream_app.runtime.threads import pin_threads

    pin_threads()  # before anything imports numpy
    from stream_app.api.server import run
    from stream_app.settings import Settings

    run(Settings.load(config))
