"""The part of docs/ACCURACY.md that is about demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.demand.measure import RIVALS

TEXT = """## Demand: daily counts of a shop

Written by `python -m benchmarks.demand`. UCI 502 (Online Retail II): order lines a day of the {products} products
that sold best before {first}, as a stream with `aggregate = "count"`; cancelled orders are left out. The model is
trained once on the days before. Then it forecasts day by day from {first} to {last} as a worker serves it, and learns
from labels when they come. Context 112 days, horizon 7. {intermittent:.0%} of the windows have more than 40 % zeros,
and are answered as intermittent. In the other windows this is done for the days on
which hardly anything is sold.

A level is calibrated when the share of actual values under its quantile equals the level. For counts this is checked
with the randomised transform: a count stands at a random place between itself and one less (with a seed of its own),
and the quantiles are those before rounding up. For the rounded quantiles, which are published, the share below must
be at most the level, and the share below or equal at least the level. Pinball is the mean over the nine levels, in
order lines. The rivals are points, as they are known. Both naive forecasts with tracked intervals, as the ladder has
them, have {seasonal:.4f} and {last_value:.4f}.
"""


def section(found: dict[str, Any], table: Callable[[Sequence[str], Sequence[Sequence[str]]], str]) -> str:
    each = found["horizons"]
    seasonal, last_value = found["tracked_naive"]
    text = TEXT.format(
        products=found["products"],
        first=found["days"][0],
        last=found["days"][1],
        intermittent=each[0]["intermittent"],
        seasonal=seasonal,
        last_value=last_value,
    )
    levels = [f"{level / 10:.1f}" for level in range(1, 10)]
    lines = [[f"{row['horizon']} ahead", *(f"{share:.3f}" for share in row["pit"])] for row in each]
    for row in each:
        lines.append([f"{row['horizon']} ahead, intermittent", *(f"{share:.3f}" for share in row["pit_intermittent"])])
    for name, key in (("published: below", "below"), ("published: at most", "at_most")):
        lines.append([f"1 ahead, {name}", *(f"{share:.3f}" for share in each[0][key])])
    head = ["", *(f"{row['horizon']} ahead" for row in each)]
    scores = [
        ["forecasts", *(f"{row['forecasts']:,}" for row in each)],
        ["farthest level", *(f"{_farthest(row['pit']):.3f}" for row in each)],
        ["total of `mean` / actual total", *(f"{row['total']:.3f}" for row in each)],
        ["**tidecast**, pinball", *(f"{row['pinball']:.4f}" for row in each)],
        *([f"{name}, pinball", *(f"{row['rivals'][name]:.4f}" for row in each)] for name in RIVALS),
    ]
    rungs = ", ".join(f"{name} {count:,}" for name, count in found["rungs"].items())
    cost = found["cost"]
    method = ", ".join(f"{key} {value}" for key, value in found["method"].items())
    return "\n".join(
        [
            text,
            table(["share under the quantile of level", *levels], lines),
            table(head, scores),
            f"Answered by: {rungs}. Training took {cost['fit_s']:.1f} s, one day of forecasts "
            f"{1000 * cost['day_s']:.0f} ms. Method: {method}.\n",
        ]
    )


def _farthest(shares: Sequence[float]) -> float:
    return max(abs(share - level / 10) for level, share in enumerate(shares, 1))
