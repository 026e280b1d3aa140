"""The shadow: a candidate that forecasts live windows beside the model in charge, and publishes nothing.

It settles and issues with the same code, over columns of its own, so that its offsets are those of a worker that had
swapped to it when the shadow began. Both are scored on the same cells, which came after the forecasts.

It exists in memory only and is not part of the state: it ends when the partition is released. What it learned is taken
over when the candidate takes charge (shadow_offsets.py), and its scores are reported bin by bin.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from model_core.arrays import FloatArray, IntArray
from model_core.batches import RawForecast
from model_core.bundle import ModelFacts
from model_core.columns import Columns
from model_core.compiled import phase_c
from model_core.ladder import Rung
from model_core.outcomes import Observed, Wave, WaveKind
from model_core.settlement import Settlement, settlement_fields
from model_core.shadow_offsets import ShadowOffsets
from model_core.spec import StreamSpec

_SPREAD = 2654435761  # Knuth's: neighbouring columns fall far apart
_NONE = -1


@dataclass(frozen=True)
class ShadowScore:
    """Both models on the same cells of the ticks [since, until], in units of each series' usual step."""

    since: int
    until: int
    scored: int  # cells
    candidate: float  # mean pinball
    champion: float
    offset: int  # of the reading that closed the bin


@dataclass
class _Bin:
    scored: int = 0
    candidate: float = 0.0  # sums
    champion: float = 0.0


@dataclass
class _Bins:
    """Scores by ticks, `length` of them together, until the watermark has passed."""

    length: int
    open: dict[int, _Bin] = field(default_factory=dict)

    def add(self, ticks: IntArray, candidate: FloatArray, champion: FloatArray) -> None:
        """Scaled losses [n], n > 0; finite."""
        bins = ticks // self.length
        same = (bins == bins[0]).all()  # as most often
        for number in (bins[:1] if same else np.unique(bins)).tolist():
            inside = slice(None) if same else bins == number
            found = self.open.setdefault(number, _Bin())
            found.scored += len(bins[inside])
            found.candidate += float(candidate[inside].sum())
            found.champion += float(champion[inside].sum())

    def take(self, closed: int, offset: int) -> list[ShadowScore]:
        """Those that lie before the tick that was closed last."""
        done = sorted(number for number in self.open if (number + 1) * self.length <= closed + 1)
        scores = []
        for number in done:
            found, since = self.open.pop(number), number * self.length
            means = found.candidate / found.scored, found.champion / found.scored
            scores.append(ShadowScore(since, since + self.length - 1, found.scored, *means, offset))
        return scores


class Shadow:
    """`facts` of the candidate; `theirs` are the columns of the partition, of which at most `series_max` series are
    taken, spread over all. The order of calls for each Observed, when the model in charge has settled it: `rows`,
    `settle`."""

    def __init__(
        self,
        spec: StreamSpec,
        partition: int,
        theirs: Columns,
        settlement: Settlement,
        facts: ModelFacts,
        series_max: int,
    ) -> None:
        quiet = spec.model_copy(update={"accuracy": "summary"})
        read = {*phase_c.ONE_ROW, *phase_c.MANY_ROWS}
        fields = {each.name: each for each in theirs.fields.values() if each.name in read and each.name != "results"}
        fields |= {each.name: each for each in settlement_fields(quiet)}
        self.version = facts.version
        self._theirs = theirs
        self._columns = Columns(tuple(fields.values()))
        self._settlement = Settlement(quiet, self._columns, partition, facts, quiet=True)
        self._settlement.keep_losses(True)
        self._series_max = series_max
        self._own = np.full(theirs.used, _NONE, np.int64)  # column of theirs → ours
        theirs.freed = set()
        self._bins = _Bins(spec.horizon)
        calibration = self._settlement.calibration
        for name, array in vars(settlement.calibration.cohort).items():
            getattr(calibration.cohort, name)[...] = array
        calibration.closed = settlement.calibration.closed
        self._admit(np.flatnonzero((theirs.flat("calibrated") == 1) & (theirs.flat("role") == 0)), known=True)
        calibration.begin(facts)
        self._settlement.corrector.begin()

    def __len__(self) -> int:
        return len(self._columns)

    # --- which series -------------------------------------------------------------------------------------------------

    def _admit(self, theirs: IntArray, *, known: bool = False) -> None:
        """Columns of theirs that come into the shadow, if there is room. `known`: with what is known of them so far."""
        share = self._series_max / max(1, len(self._theirs))
        taken = ((theirs * _SPREAD) & 0xFFFFFFFF) < share * 2**32
        names = [(column, self._theirs.ids[column]) for column in theirs[taken].tolist()]
        names = [(column, name) for column, name in names if name is not None and name not in self._columns.index]
        names = names[: self._series_max - len(self._columns)]
        if not names:
            return
        index = np.array([column for column, _ in names], np.int64)
        own = self._own[index] = self._columns.add([name for _, name in names if name is not None])
        for name, each in self._columns.fields.items():
            if each.rows == 1 and (known or name in ("role", "bounds")):
                self._columns.flat(name)[own] = self._theirs.flat(name)[index]

    def _let_go(self) -> None:
        """Of series that are gone; one that came back in the same column is a new one."""
        assert self._theirs.freed is not None, "asked for in the beginning"
        freed = np.array([column for column in self._theirs.freed if column < len(self._own)], np.int64)
        self._theirs.freed.clear()
        gone = self._own[freed]
        self._own[freed] = _NONE
        self._columns.remove(gone[gone != _NONE])

    def rows(self, observed: Observed) -> IntArray:
        """Windows of `observed` that the candidate has to answer."""
        if len(self._own) < self._theirs.used:
            new = np.full(self._theirs.used - len(self._own), _NONE, np.int64)
            self._own = np.concatenate([self._own, new])
        if self._theirs.freed:
            self._let_go()
        if observed.windows is None:
            return np.empty(0, np.int64)
        due = np.concatenate([wave.columns[wave.due] for wave in observed.waves])
        if len(self._columns) < self._series_max:
            new = np.unique(due[self._own[due] == _NONE])
            if len(new):
                self._admit(new)
        return np.flatnonzero(self._own[due] != _NONE)

    # --- forecasts and scores -----------------------------------------------------------------------------------------

    def settle(
        self, observed: Observed, rows: IntArray, raw: RawForecast | None, losses: list[FloatArray]
    ) -> list[ShadowScore]:
        """What is finished. `raw` of the windows `rows`; `losses` of the model in charge, of each settled wave."""
        waves = [self._ours(wave) for wave in observed.waves]
        windows = observed.windows if raw is not None else None
        if windows is not None and len(rows) < len(windows):
            windows = windows.rows(rows)
        self._settlement.settle_and_issue(Observed(waves, windows, [], (), {"warming_up": 0}), raw)
        settled = [
            (wave, ours) for wave, ours in zip(observed.waves, waves, strict=True) if wave.kind is WaveKind.SETTLED
        ]
        scores: list[ShadowScore] = []
        for (wave, ours), champion, candidate in zip(settled, losses, self._settlement.take_losses(), strict=True):
            if self._bins.open:
                scores += self._bins.take(wave.closed, int(wave.offsets.max(initial=wave.cause)))
            there = np.flatnonzero(np.isfinite(candidate))
            if not len(there):
                continue  # with forecast_every most ticks have nothing waiting
            step = self._columns.flat("season_state")["change"][ours.columns[there]]
            theirs = champion[self._own[wave.columns] != _NONE][there]
            both = np.isfinite(theirs) & (step > 0)
            there, step = there[both], step[both]
            if len(there):
                self._bins.add(ours.ticks[there], candidate[there] / step, theirs[both] / step)
        return scores

    def _ours(self, wave: Wave) -> Wave:
        """The part of a wave that the shadow knows, by its own columns."""
        own = self._own[wave.columns]
        kept = own != _NONE
        if kept.all():
            return replace(wave, columns=own)
        place, due = np.cumsum(kept) - 1, kept[wave.due]
        return replace(
            wave,
            columns=own[kept],
            ticks=wave.ticks[kept],
            values=wave.values[kept],
            offsets=wave.offsets[kept],
            season_change=wave.season_change[kept],
            due=place[wave.due[due]],
            origins=wave.origins[due],
            revisions=wave.revisions[due],
            settled=wave.settled[due],
        )

    def learned(self) -> ShadowOffsets:
        """Of the candidate, so far."""
        names = sorted(name for name, column in self._columns.index.items() if self._columns.flat("calibrated")[column])
        index = np.array([self._columns.index[name] for name in names], np.int64)
        cohort = self._settlement.calibration.cohort
        return ShadowOffsets(
            tuple(names),
            self._columns.flat("offsets")[index, Rung.MODEL].astype(np.float16),
            self._columns.flat("unit")[index, Rung.MODEL].astype(np.float32),
            cohort.offsets[Rung.MODEL].astype(np.float32),
        )
