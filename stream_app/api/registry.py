"""The model registry for the page, read at most once in `models.poll_interval`, however many ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model_core.errors import CoreError
from stream_app.api import answers
from stream_app.api.reading import NotThere
from stream_app.errors import TidecastError
from stream_app.models.registry import Listed, ModelRegistry

if TYPE_CHECKING:
    from stream_app.settings import Settings

FRESH_S_MIN = 2.0


class Models:
    def __init__(self, settings: Settings) -> None:
        self._registry = ModelRegistry(settings.models.registry)
        self._fresh_s = max(FRESH_S_MIN, settings.models.poll_interval / 1000)
        self._listed: dict[str, tuple[float, list[Listed]]] = {}
        self._lock = threading.Lock()

    def answer(self, stream: str) -> list[answers.Model]:
        """Newest first."""
        return [_model(each) for each in reversed(self._versions(stream))]

    def report(self, stream: str, version: str) -> Mapping[str, Any]:
        """The report of its training. `version` may be an alias. Raises NotThere when there is none."""
        for each in self._versions(stream):
            if each.version == version or version in each.aliases:
                if not each.report:
                    raise NotThere(f"Model {each.version} of {stream} has no report of how it was judged.")
                return each.report
        raise NotThere(
            f"Stream {stream!r} has no model {version[:200]!r} in {self._registry.address}; see `tidecast models list`."
        )

    def _versions(self, stream: str) -> list[Listed]:
        with self._lock:
            since, listed = self._listed.get(stream, (float("-inf"), []))
            if time.monotonic() - since > self._fresh_s:
                try:
                    listed = self._registry.versions(stream)
                except (CoreError, TidecastError, OSError) as error:
                    raise NotThere(f"The models of {stream} cannot be read: {error}") from None
                self._listed[stream] = (time.monotonic(), listed)
            return listed


def _model(listed: Listed) -> answers.Model:
    made, report = listed.manifest, listed.report
    return answers.Model(
        version=listed.version,
        aliases=list(listed.aliases),
        model=made.model if made else None,
        passed=report.get("passed"),
        reason=report.get("reason"),
        problem=listed.problem,
        series=made.training.series if made else None,
        windows=made.training.windows if made else None,
        scaled_pinball=dict(report.get("scaled_pinball") or {}),
        has_report="gate" in report,
    )
