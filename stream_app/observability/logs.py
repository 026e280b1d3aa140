"""Log lines: one JSON object each, to stderr, from structlog and from the standard library alike."""

import logging
import sys
from typing import Any, TextIO

import structlog

from stream_app.settings.secrets import hidden

# These say little and often; their warnings stay.
_TALKATIVE = ("faust", "mode", "aiohttp", "aiokafka", "asyncio", "urllib3", "botocore", "fsspec", "uvicorn")


def configure_logs(level: str = "info", *, json: bool = True, stream: TextIO | None = None) -> None:
    """Route all logging through one formatter. Called once by the command that runs; calling again replaces it.

    Secrets of the settings stand in no line, whoever has written it: a library quotes them, too.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    target = stream or sys.stderr
    rendering: list[Any]
    if json:
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # A traceback without the variables of its frames: the settings are among them.
        plain = structlog.dev.plain_traceback
        rendering = [structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=plain)]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering, _hide],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _hide(_logger: Any, _method: str, line: Any) -> str:
    return hidden(line)
