"""`tidecast worker`: forecasts until it is told to stop."""

from __future__ import annotations

from stream_app.cli.options import DEFAULT_FILE, Config


def worker(
    config: Config = DEFAULT_FILE,
) -> None:
    """Read readings, publish forecasts, until SIGTERM or Ctrl-C (exit code 0) or a failure (1)."""
    from stream_app.runtime.threads import pin_threads

    pin_threads()  # before anything imports numpy
    from stream_app.settings import Settings
    from stream_app.worker import run

    run(Settings.load(config))
