"""The ledger: issued quantiles that still wait for their actual value, at the scored horizons.

A scored horizon h needs ceil(h / forecast_every) slots. The forecast of origin o is kept in slot (o / forecast_every)
mod that number until its target o + h is settled, and is then removed. A slot holds all tracked rungs side by side; if
the level answered, which is not tracked, its quantiles are in the model's place, and the code of the rung says so.

compiled/issue.c writes, compiled/settle.c reads and removes.
"""

import numpy as np

from model_core.arrays import IntArray
from model_core.columns import Columns, Field
from model_core.ladder import TRACKED_RUNGS
from model_core.spec import StreamSpec

NOT_ISSUED = -1


def ledger_fields(spec: StreamSpec) -> tuple[Field, ...]:
    rows = int(slots_of_horizons(spec).sum())
    return (
        Field(
            "issued", np.float32, rows=rows, inner=(TRACKED_RUNGS, len(spec.quantile_levels)), fill=np.nan, slots=True
        ),
        Field("issued_rung", np.int8, rows=rows, fill=NOT_ISSUED, slots=True),
        # The mean of demand, before the cohort's correction: that is learned from it.
        *((Field("issued_mean", np.float32, rows=rows, slots=True),) if spec.is_demand else ()),
    )


def slots_of_horizons(spec: StreamSpec) -> IntArray:
    """How many slots each of the scored horizons needs: int64 [K]."""
    return np.array([-(-h // spec.forecast_every) for h in spec.scored_horizons], np.int64)


def drop(columns: Columns, index: IntArray) -> None:
    """Forget what was issued for these columns: it will not be scored any more."""
    columns.arrays["issued_rung"][index >> 8, :, index & 255] = NOT_ISSUED
    for row in range(columns.fields["issued_rung"].rows):
        columns.touch("issued_rung", index, row)
