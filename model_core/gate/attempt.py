"""One attempt of a candidate to take charge, as the model registry remembers it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """A candidate that was judged: what it was compared with, and on which ticks."""

    version: str
    rival: str | None  # version of the champion, None: the naive forecasts
    first_tick: int
    last_tick: int
    passed: bool | None = None  # None: of a version that did not remember it

    def looks_again_at(self, before: "Attempt") -> bool:
        """Whether it was judged on some of the same ticks as an earlier attempt, against the same rival."""
        apart = before.last_tick < self.first_tick or self.last_tick < before.first_tick
        return before.rival == self.rival and not apart
