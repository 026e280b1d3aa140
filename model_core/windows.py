"""Windows: the ring of settled ticks and the accumulators of cells that may still change, as fields of columns.

Ring rows are addressed by tick (tick mod capacity), so that regular series stay aligned, whenever they started.
Accumulator rows are addressed by tick too; a row is cleared when the watermark lets a new tick into it.
compiled/cells.c and windows.c read and write them.
"""

import numpy as np

from model_core.batches import FILL_CODES
from model_core.columns import MEMBER, Field
from model_core.spec import StreamSpec

NEVER = np.iinfo(np.int64).min // 4  # a tick before all others, with room to subtract from
AGGREGATE_CODES = {"mean": 0, "sum": 1, "last": 2, "min": 3, "max": 4, "count": 5}
ROLE_CODES = {"target": 0, "past": 1, "future": 2}


def window_fields(spec: StreamSpec) -> tuple[Field, ...]:
    """Arrays of this module for one stream."""
    covariates = len(spec.past_covariates) + len(spec.future_covariates)
    rows = accumulator_rows(spec)
    return (
        Field("ring", np.float32, rows=spec.ring_capacity, fill=np.nan, ahead=True),
        Field("open_count", np.int32, rows=rows),
        Field("open_value", np.float64, rows=rows),
        Field("open_stamp", np.int64, rows=rows, fill=NEVER),
        Field("last_tick", np.int64, fill=NEVER),  # newest settled tick; of a future covariate the newest known one
        Field("first_tick", np.int64, fill=NEVER),  # NEVER: nothing settled yet
        Field("last_seen", np.int64, fill=NEVER),  # newest tick with a reading
        Field("observed", np.int64),  # observed cells so far
        Field("newest_origin", np.int64, fill=NEVER),
        Field("revision", np.int64),
        Field("aggregate", np.int8, group=MEMBER),
        Field("fill", np.int8, group=MEMBER),
        Field("role", np.int8, group=MEMBER),
        Field("bounds", np.float64, inner=(2,), group=MEMBER),
        *((Field("covariates", np.int32, inner=(covariates,), fill=-1, group=MEMBER),) if covariates else ()),
    )


def accumulator_rows(spec: StreamSpec) -> int:
    """One row for each tick that may be open or corrected, and one beyond, so that a look ahead finds it empty."""
    return spec.open_ticks + spec.late_ticks + 2


def column_settings(spec: StreamSpec, series_id: str) -> tuple[int, int, int, float, float]:
    """(aggregate, fill, role, lower, upper) of a new series, its override applied; infinite where unbounded."""
    rule = spec.override_of(series_id)
    aggregate = (rule and rule.aggregate) or spec.aggregate
    demand = aggregate in ("sum", "count")
    fill = (rule and rule.fill) or spec.fill or ("zero" if demand else "forward")
    lower = rule.lower_bound if rule and rule.lower_bound is not None else spec.lower_bound
    upper = rule.upper_bound if rule and rule.upper_bound is not None else spec.upper_bound
    role = spec.role(spec.split(series_id)[1])
    return (
        AGGREGATE_CODES[aggregate],
        FILL_CODES[fill],
        ROLE_CODES.get(role, -1),
        (0.0 if demand else -np.inf) if lower is None else lower,
        np.inf if upper is None else upper,
    )
