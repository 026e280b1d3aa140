"""Cohort storms: many series of a partition alarm within one season. That is one event with one cause, and one record.

It starts when the share of distinct series that alarmed within a season exceeds a limit (5 %, or a share that was
hardly ever reached in training), and ends below half of it. It is judged when the watermark closes a tick, from the
alarms up to then.
"""

from dataclasses import dataclass
from typing import Literal

STORM_SHARE_MIN = 0.05
STORM_SERIES_MIN = 3  # fewer are single series, however small their partition


@dataclass
class Storm:
    """Part of the state. `since`: the tick at which it began, None while there is none."""

    since: int | None = None
    suppressed: int = 0  # alarms that were not told singly

    def look(self, tick: int, alarming: int, series: int, limit: float) -> Literal["starts", "goes on", "ends"] | None:
        """There are `alarming` distinct series among so many. Returns what that changes."""
        share = alarming / series if series else 0.0
        if self.since is None:
            if share <= limit or alarming < STORM_SERIES_MIN:
                return None
            self.since, self.suppressed = tick, 0
            return "starts"
        if share >= limit / 2:
            return "goes on"
        self.since = None
        return "ends"
