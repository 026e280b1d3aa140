"""Intermittent demand: how often something is sold, how much then, and the quantiles of both together.

The level is that of Teunter, Syntetos and Babai (2011), TSB: the probability p of a sale is smoothed at every step, the
size z of a sale at every sale, so that p falls while nothing is sold. Both means are divided by the weight that they
have seen, so neither needs an initial value. Observations are compared with the usual share of that step of the season:
nobody buys on a closed Saturday, and that says nothing. Sizes are those of the window.

One implementation serves numpy, torch and exported graphs: functions of whole arrays, in float64, each row for itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model_core.arrays import AnyArray, FloatArray
from model_core.errors import CorruptBundle
from model_core.libraries import Array, Library

ZERO_SHARE = 0.4  # of the observed cells of a window, or likely at a step: with more of them it is intermittent
RATES, OCCURRENCE, SIZE = "intermittent.rates", "intermittent.occurrence", "intermittent.size"
LED_MAX = 4.0  # times as much, or as little, as the level says: beyond, sizes say nothing of it
_TINY = 1e-12
_GRID = (0.02, *(round(0.05 * i, 2) for i in range(1, 20)), 0.98)


def fine_levels(levels: tuple[float, ...]) -> FloatArray:
    """float64 [G], rising: the levels at which the distribution is told, those of the stream among them."""
    return np.array(sorted({*_GRID, *levels}))


@dataclass(frozen=True)
class Demand:
    """Of B windows. `intermittent`: steps that this distribution answers. `quantiles` are of the continuous value of
    compiled/demand.h: of a count minus a number in (0, 1); where nothing is sold from −1 to 0, in whatever lies below
    the lowest value."""

    intermittent: Array  # bool [B, H]
    mean: Array  # float64 [B, H]
    quantiles: Array  # float64 [B, H, G]


class Intermittent:
    """The fitted rates and the usual season. `whole`: sizes are counts."""

    def __init__(
        self, tensors: Mapping[str, AnyArray], levels: tuple[float, ...], library: Library, *, whole: bool
    ) -> None:
        """CorruptBundle when a tensor is missing or senseless."""
        found = {name: tensors.get(name) for name in (RATES, OCCURRENCE, SIZE)}
        for name, tensor in found.items():
            if tensor is None or tensor.ndim != 1 or not len(tensor) or not np.isfinite(tensor).all():
                raise CorruptBundle(f"a model of demand needs finite {name} of one dimension; train again")
        rates, occurrence, size = (np.asarray(tensor, np.float64) for tensor in found.values())
        sound = len(rates) == 2 and len(size) == len(occurrence) and (size > 0).all() and (occurrence >= 0).all()
        if not sound or not ((rates > 0) & (rates < 1)).all():
            raise CorruptBundle("a model of demand needs two rates in (0, 1), and sizes above 0 for a whole season")
        self._of_size, self._of_sale = rates.tolist()
        self.season = len(occurrence)
        self._occurrence, self._size = library.array(occurrence), library.array(size)
        self.levels = fine_levels(levels)
        self._library, self._whole = library, whole

    def __call__(self, raw: Array, phase: Array, horizon: int) -> Demand:
        """`raw` float32 [B, L] on the device, NaN where missing; `phase` int64 [B], origin tick mod season."""
        library = self._library
        xp, length = library.xp, raw.shape[1]
        seen = xp.isfinite(raw)
        value = xp.where(seen, library.float64(raw), 0.0)
        sold = value > 0
        count = library.float64(sold).sum(axis=1)  # [B]
        back = library.constant(np.arange(1 - length, 1))
        ahead = library.constant(
            np.arange(1, min(horizon, self.season) + 1)
        )  # the same phases come again after a season
        before, after = ((phase[:, None] + steps) % self.season for steps in (back, ahead))
        rate = self._rate(library.float64(seen), library.float64(sold), self._occurrence[before])
        level = self._level(value, library.float64(sold), self._size[before])
        share = (rate[:, None] * self._occurrence[after]).clip(0.0, 1.0)  # [B, J]
        size = level[:, None] * self._size[after]
        usual = library.row_sum(value) / count.clip(1.0, None)
        grown = size / xp.where(usual > 0, usual, 1.0)[:, None]
        quantiles = self._quantiles(self._spread_out(value, sold), count, share, grown)
        again = library.constant(np.arange(horizon) % self.season)
        zeros = library.float64(seen & ~sold).sum(axis=1)
        often = zeros > ZERO_SHARE * library.float64(seen).sum(axis=1)
        # Nothing is sold at night, however much is sold by day: errors of both in one table would fit neither.
        seldom = often[:, None] | (share < 1.0 - ZERO_SHARE)
        return Demand(seldom[:, again], (share * size)[:, again], quantiles[:, again])

    def beside(self, made: Demand, location: Array) -> Demand:
        """The same of all steps, whose `location` float64 [B, H] another model knows better where not intermittent.

        Where some steps of a window are intermittent and some are not, errors of the latter are as unlike as their
        sales: they have the sizes of the window around the location, in proportion.
        """
        xp = self._library.xp
        ratio = location / made.mean.clip(_TINY, None)
        some = made.intermittent.any(axis=1)[:, None]
        led = some & ~made.intermittent & (ratio > 1.0 / LED_MAX) & (ratio < LED_MAX)
        factor = xp.where(led, ratio, 1.0)[:, :, None]
        return Demand(
            led | made.intermittent,
            xp.where(made.intermittent, made.mean, location),
            xp.where(made.quantiles > 0, made.quantiles * factor, made.quantiles),
        )

    def _rate(self, seen: Array, sold: Array, usual: Array) -> Array:
        """float64 [B]: how often something is sold, as a multiple of the usual."""
        weight = self._library.constant((1.0 - self._of_sale) ** np.arange(seen.shape[1] - 1, -1, -1))
        total = self._library.row_sum
        return total(weight * sold) / total(weight * usual * seen).clip(_TINY, None)

    def _level(self, value: Array, sold: Array, usual: Array) -> Array:
        """float64 [B]: size of a sale, for a usual step of the season; 0 where nothing was sold."""
        library, xp = self._library, self._library.xp
        later = sold.sum(axis=1)[:, None] - xp.cumsum(sold, axis=1)  # sales after each step
        faded = library.constant((1.0 - self._of_size) ** np.arange(value.shape[1] + 1))
        weight = sold * faded[library.int64(later)]
        return library.row_sum(weight * value / usual) / library.row_sum(weight).clip(_TINY, None)

    def _spread_out(self, value: Array, sold: Array) -> Array:
        """float64 [B, L]: the sizes in rising order; counts that are the same lie evenly between themselves and one
        less."""
        library = self._library
        xp, length = library.xp, value.shape[1]
        many = library.sort(xp.where(sold, value, float(np.finfo(np.float32).max)))
        if not self._whole:
            return many
        place = library.constant(np.arange(length))
        other = many[:, 1:] != many[:, :-1]
        edge = xp.ones_like(other[:, :1])
        first = library.running_max(xp.where(xp.concatenate([edge, other], axis=1), place, 0))
        turned = xp.flip(xp.where(xp.concatenate([other, edge], axis=1), length - 1 - place, 0), (1,))
        last = length - 1 - xp.flip(library.running_max(turned), (1,))
        share = (library.float64(place - first) + 0.5) / library.float64(last - first + 1)
        return many - 1.0 + share

    def _quantiles(self, sizes: Array, count: Array, share: Array, grown: Array) -> Array:
        """sizes [B, L], of which `count` [B] are there; share and grown [B, J] → float64 [B, J, G]."""
        library = self._library
        xp, levels = library.xp, library.constant(self.levels)
        nothing = 1.0 - share[:, :, None]
        among = (levels - nothing) / share[:, :, None].clip(_TINY, None)  # level among the sales
        most = (count - 1.0).clip(0.0, None)[:, None, None]
        place = xp.minimum((among * count[:, None, None] - 0.5).clip(0.0, None), most)
        low = xp.floor(place)
        high = xp.minimum(low + 1.0, most)
        flat = (share.shape[0], share.shape[1] * len(self.levels))
        left, right = (library.take(sizes, library.int64(at).reshape(flat)).reshape(low.shape) for at in (low, high))
        size = (left + (right - left) * (place - low)) * grown[:, :, None]
        below = levels / nothing.clip(_TINY, None) - 1.0
        return xp.where(among <= 0, below.clip(-1.0, 0.0), size.clip(0.0, None))
