"""How long before a commit is due its outputs must be cut, given how long transactions take."""

TAKING_SHARE_MAX = 0.5  # of the interval: in a backlog transactions take longer, and many small ones make it worse
BREATH = 1.5  # between two cuts, in what a transaction takes: others need the brokers, too
FORGETTING = 0.1  # of the running means


class Lead:
    """Of one publisher, by what its transactions took. Written and read by two threads, a number at a time."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._takes_s = 0.0  # from the publisher to the commit
        self._late_s = 0.0  # from the moment at which a cut was due to the publisher

    def note(self, takes_s: float, late_s: float | None) -> None:
        """A transaction; `late_s` None: its cut was due at no certain moment."""
        self._takes_s += FORGETTING * (takes_s - self._takes_s)
        if late_s is not None:
            self._late_s += FORGETTING * (late_s - self._late_s)

    @property
    def seconds(self) -> float:
        if self._takes_s > TAKING_SHARE_MAX * self._interval_s:
            return 0.0
        return min(self._late_s + self._takes_s, self._interval_s - BREATH * self._takes_s)
