"""C and Python agree on where each member of a struct lies, and the kernels follow columns that move."""

import re
from pathlib import Path

import numpy as np
import pytest

from model_core.compiled import build, phase_c
from model_core.spec import SCORED_HORIZONS
from tests.core.waves import Waves

COMPILED = Path(build.__file__).parent


def members_in_c(source: str, name: str) -> list[str]:
    text = re.sub(r"//.*", "", (COMPILED / source).read_text())
    body = re.search(r"typedef struct \{([^}]*)\} " + name + ";", text)
    assert body is not None
    found = []
    for declaration in body[1].split(";"):
        words = re.sub(r"\b(const|double|float|u?int\d+_t|Season|Drift|Level)\b|\*|\[\w+\]", " ", declaration)
        found += [word.strip() for word in words.split(",") if word.strip()]
    return found


@pytest.mark.parametrize(
    ("source", "name"),
    [("phase_c.h", "Settlement"), ("settle.c", "Found"), ("issue.c", "Answers")],
)
def test_members_stand_in_the_order_of_the_c_struct(source: str, name: str) -> None:
    assert [member for member, _ in getattr(phase_c, name)._fields_] == members_in_c(source, name)


@pytest.mark.parametrize("name", ["Season", "Drift", "Level"])
def test_structs_in_columns_have_the_members_of_the_c_struct(name: str) -> None:
    dtype = getattr(phase_c, name.upper())
    assert list(dtype.names) == members_in_c("phase_c.h", name)
    members = sum(int(np.prod(dtype[member].shape, dtype=int)) for member in dtype.names)
    assert dtype.itemsize == 8 * members, "all of them are eight bytes wide, so nothing lies between them"


def test_the_kernels_have_room_for_all_scored_horizons() -> None:
    assert len(SCORED_HORIZONS) + 1 <= phase_c.HORIZONS_MAX
    assert f"HORIZONS_MAX = {phase_c.HORIZONS_MAX} " in (COMPILED / "phase_c.h").read_text()


def test_columns_that_were_added_since_the_last_call_are_settled_where_they_lie_now() -> None:
    waves = Waves(1, horizon=2, quantile_levels=(0.5,))
    waves.issue([0], 1000, np.full((1, 3, 2), 5.0))
    waves.columns.add([f"late{i}" for i in range(1000)])
    waves.columns.flat("bounds")[:] = -np.inf, np.inf
    waves.issue(range(1, 1001), 1000, np.full((1000, 3, 2), 7.0))
    waves.settle(range(1001), 1001, 6.0)
    scored = waves.columns.flat("scored")[:1001]
    assert (scored == 1).all()
    assert (waves.columns.flat("loss")[:1001, 3, 0] == 0.5).all()
