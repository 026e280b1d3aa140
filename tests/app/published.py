"""Messages as the worker publishes them, made by hand, for the tests of what reads them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
STEP_MS = 600_000


def moment(tick: int, step_ms: int = STEP_MS) -> str:
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=tick * step_ms)
    return start.isoformat().replace("+00:00", "Z")


def forecast(
    series_id: str, origin: int, quantiles: list[list[float]], *, step_ms: int = STEP_MS, **changes: Any
) -> tuple[bytes, bytes]:
    """quantiles [Q][H]; `origin` is a tick."""
    message = {
        "schema_version": 1,
        "stream": "appliances",
        "series_id": series_id,
        "origin": moment(origin, step_ms),
        "step_ms": step_ms,
        "horizon": len(quantiles[0]),
        "quantile_levels": LEVELS,
        "quantiles": quantiles,
        "point": quantiles[len(quantiles) // 2],
        "model": "ridge",
        "model_version": "1",
        "status": "ok",
        "reason": None,
        "revision": 0,
        "issued_at": "2026-03-01T10:00:00Z",
        "observed_share": 1.0,
        "input": {"partition": 0, "offset": origin},
    }
    return series_id.encode(), json.dumps(message | changes).encode()


def accuracy(
    series_id: str, origin: int, horizons: list[dict[str, Any]], *, step_ms: int = STEP_MS, **changes: Any
) -> tuple[bytes, bytes]:
    """One record; each horizon needs `horizon`, and gets its target."""
    nothing = {"actual": None, "error": None, "pinball": None, "covered": [None] * 4}
    naive = {"baselines": {"seasonal_naive": None, "last_value": None}}
    scored = [nothing | naive | {"target": moment(origin + each["horizon"], step_ms)} | each for each in horizons]
    message = {
        "schema_version": 1,
        "kind": "record",
        "stream": "appliances",
        "series_id": series_id,
        "origin": moment(origin, step_ms),
        "horizons": scored,
        "intervals": [0.8, 0.6, 0.4, 0.2],
        "mase": None,
        "coverage": [None] * 4,
        "skill": None,
        "input": {"partition": 0, "offset": origin},
    }
    return series_id.encode(), json.dumps(message | changes).encode()
