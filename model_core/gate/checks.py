"""The checks of the gate: each takes what was found and says whether it passes, and why, with its numbers."""

from dataclasses import dataclass

import numpy as np

from model_core.arrays import FloatArray
from model_core.gate.duel import Duel
from model_core.gate.holes import WORSE_MAX, Holed
from model_core.gate.interval import Difference, share_error
from model_core.gate.speed import Speed
from model_core.gate.stress import RESPONSE_MIN, Response, Stressed
from model_core.quantiles import Levels

MARGIN = 0.01  # a change is not worth it for less
TAIL_P99_MAX, TAIL_MAX = 1.05, 2.0  # of the series' ratios
FIRST_P99_MAX = 2.0  # against the naive forecasts: somewhere one of them is always better
COVERAGE_POINTS, FIRST_COVERAGE_POINTS = 0.02, 0.1


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    said: str  # with its numbers


def slice_check(name: str, found: Difference, limit: float, *, needed: bool) -> Check:
    """Not `needed`: a slice that is too short to tell anything passes."""
    if not np.isfinite(found.upper):
        said = f"{found.blocks} blocks of {found.origins} scored origins are too few to tell"
        return Check(name, not needed, said)
    wanted = f"be below {limit:+.0%}" if limit else "not be above 0%"
    said = f"pinball {found.mean:+.1%} ({found.lower:+.1%} to {found.upper:+.1%}), whose upper end must {wanted}"
    passed = found.upper < limit if limit else found.upper <= 0
    return Check(name, bool(passed), said)


def tail_check(ratios: dict[str, float], *, first_model: bool) -> Check:
    if not ratios:
        return Check("series", True, "none was scored often enough to be judged alone")
    values = np.array(list(ratios.values()))
    p99, most = float(np.quantile(values, 0.99)), float(values.max())
    limit, top = (FIRST_P99_MAX, np.inf) if first_model else (TAIL_P99_MAX, TAIL_MAX)
    said = f"of {len(values):,} series the worst 1 % have at least {p99:.2f} times the loss, the worst one {most:.2f}"
    wanted = f"; at most {limit:g}" + ("" if first_model else f" and {top:g}") + " wanted"
    return Check("series", bool(p99 <= limit and most <= top), said + wanted)


def coverage_check(first: Duel, levels: Levels, block: int, alpha: float, *, first_model: bool) -> Check:
    """Refused when the coverage of a bucket is certainly off by more than a candidate's may be.

    Tables alone drift with the level of errors, and the worker corrects that: being as near as the rival, within two
    points, is enough.
    """
    if not levels.intervals or not first.counted.any():
        return Check("coverage", True, "no interval to judge")
    low, high = levels.intervals[0]
    nominal = levels.levels[high] - levels.levels[low]
    points = FIRST_COVERAGE_POINTS if first_model else COVERAGE_POINTS
    worst, said = -np.inf, ""
    for bucket, horizon in enumerate(levels.horizons.tolist()):
        counted = first.counted[:, bucket]
        mine, theirs = (share_inside(side[:, bucket], counted) for side in first.inside)
        reach = share_error(first.inside[0, :, bucket], counted, block, alpha)
        excess = abs(mine - nominal) - reach - abs(theirs - nominal) - points
        if np.isfinite(mine) and excess > worst:
            shown = f"±{reach:.1%}" if np.isfinite(reach) else "too few blocks to tell"
            worst, said = (
                excess,
                f"{mine:.1%} ({shown}) of {nominal:.0%} up to {horizon} steps ahead, rival {theirs:.1%}",
            )
    return Check("coverage", bool(worst <= 0), said or "too few blocks of scored origins to tell")


def stress_check(stressed: list[Stressed]) -> Check:
    failed = [each for each in stressed if not each.passed]
    if failed:
        said = "; ".join(f"{each.name}: {each.excursion:.3g} ranges outside its window" for each in failed)
        return Check("stress", False, said)
    return Check("stress", True, f"{', '.join(each.name for each in stressed)}: finite and near the window")


def holes_check(found: Holed | None) -> Check:
    """On windows with holes, the naive forecasts that would answer instead must not be much better."""
    if found is None or not np.isfinite(found.worse):
        return Check("holes", True, "too few windows to tell")
    said = f"where a fifth of the cells is missing {found.worse:.2f} times the error of the naive forecasts there, "
    said += f"{found.whole:.2f} times without holes; at most {WORSE_MAX:g} wanted"
    return Check("holes", found.passed, said)


def response_check(found: Response) -> Check:
    """For example twenty inches of rain in one hour: the forecast must rise."""
    name = f"{found.direction} with {found.variable}"
    if not found.windows:
        return Check(name, True, "no window has it")
    said = f"{found.variable} at an extreme moves forecasts by {found.farthest:+.2f} spreads of their window at most, "
    said += f"{found.mean:+.2f} on average, in the declared direction; {RESPONSE_MIN:+g} and above 0 wanted"
    return Check(name, found.passed, said)


def speed_check(speed: Speed | None) -> Check:
    if speed is None:
        return Check("speed", True, "not measured")
    said = f"{speed.candidate * 1e6:.0f} µs a window, {speed.step_share:.2%} of a step for all series"
    if np.isfinite(speed.champion):
        said += f" (champion {speed.champion * 1e6:.0f} µs)"
    return Check("speed", speed.passed, said)


def share_inside(inside: FloatArray, counted: FloatArray) -> float:
    return float(inside.sum() / counted.sum()) if counted.any() else float("nan")
