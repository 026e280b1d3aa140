"""The inputs of an exported model: windows as the predictor sees them, and what a worker has learned about their
series.

L context, H horizon, Q levels, K scored horizons, C covariates (past, then future), F of them future, D columns of the
calendar.
"""

import numpy as np

from model_core.arrays import AnyArray
from model_core.batches import WindowBatch
from model_core.bundle import Bundle
from model_core.calendar_features import calendar_of
from model_core.ladder import Rung
from model_core.models import DEMAND
from model_core.models.intermittent import OCCURRENCE
from model_core.partition import PartitionState
from model_core.preparation import dates_of
from model_core.spec import StreamSpec

UNIT_MIN = 1e-9

# What goes in, in order: (name, dtype, axes beside the batch, what it is). Absent are those without columns.
INPUTS = (
    (
        "window",
        "float32",
        ("L", "1 + C"),
        "raw cells, oldest first, NaN where missing: target, past and future covariates",
    ),
    ("fill", "int64", (), "how holes of the target are filled: 0 forward, 1 interpolate, 2 zero"),
    ("unit", "float64", (), "calibration: root mean square of the series' one-step errors"),
    (
        "offsets",
        "float32",
        ("K", "Q"),
        "calibration: learned for each scored horizon and level; of demand what is added to the level",
    ),
    ("base_row", "int64", (), "residual table: 0 that of the stream, n + 1 that of the n-th of `series`"),
    ("bounds", "float64", ("2",), "lowest and highest value of the target; infinite where there is none"),
    ("phase", "int64", (), "only of a model of demand: tick of the origin modulo its season"),
    ("mean_factor", "float64", ("K",), "only of demand: by how much means of each scored horizon were too small"),
    ("calendar", "float32", ("H", "D"), "calendar of the target ticks, columns as in `calendar`"),
    ("known", "float32", ("H", "F"), "future covariates at the target ticks, NaN where unknown"),
    ("covariate_center", "float64", ("C",), "running mean of each covariate at the origin"),
    ("covariate_scale", "float64", ("C",), "its running standard deviation; 0 where unknown"),
)
ORDER = tuple(name for name, *_ in INPUTS)
CALENDAR_COLUMNS = {
    "hour_of_day": ("sin(a)", "cos(a)", "sin(2a)", "cos(2a), a = 2π · time of day / day, at the start of the tick"),
    "day_of_week": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "holidays": ("public holiday",),
}


def series_inputs(state: PartitionState, series_ids: list[str], scale: AnyArray) -> dict[str, AnyArray]:
    """What a worker knows of these series, as the exported model takes it: unit, offsets, base_row and bounds.

    `scale` float64 [B]: the running standard deviation of each target at its origin, for a series without residuals.
    """
    columns = state.columns
    index = np.array([columns.index[name] for name in series_ids], np.int64)
    square, updates = (columns.flat("unit")[index, Rung.MODEL, part] for part in (0, 1))
    floor = np.maximum(columns.flat("unit_floor")[index], UNIT_MIN)
    unit = np.maximum(np.where(updates > 0, np.sqrt(square), 0.5 * scale), floor)
    offsets, demand = columns.flat("offsets")[index, Rung.MODEL], {}
    if state.spec.is_demand:
        cohort = state.cohort
        offsets = (offsets + cohort.offsets[Rung.MODEL]).astype(np.float32)
        demand["mean_factor"] = np.repeat(cohort.corrections()[None], len(index), axis=0)
    return demand | {
        "unit": unit,
        "offsets": offsets,
        "base_row": columns.flat("base_row")[index].astype(np.int64) + 1,
        "bounds": columns.flat("bounds")[index],
    }


def window_inputs(spec: StreamSpec, bundle: Bundle, batch: WindowBatch) -> dict[str, AnyArray]:
    """The inputs made of windows as the predictor sees them; what the stream does not have is left out."""
    manifest = bundle.manifest
    dates, row = dates_of(batch, calendar_of(spec.grid, manifest.calendar, manifest.holidays))
    given = phase_input(bundle, batch) | {
        "window": batch.windows,
        "fill": batch.fill.astype(np.int64),
        "calendar": dates[row],
        "known": batch.known,
        "covariate_center": batch.center[:, 1:],
        "covariate_scale": batch.scale[:, 1:],
    }
    return {name: np.ascontiguousarray(array) for name, array in given.items() if array.ndim < 2 or array.shape[-1]}


def phase_input(bundle: Bundle, batch: WindowBatch) -> dict[str, AnyArray]:
    """The phase of the origins in the season of demand; empty for other models."""
    usual = bundle.tensors.get(OCCURRENCE) if bundle.manifest.model == DEMAND else None
    return {} if usual is None else {"phase": batch.origins % len(usual)}
