"""A worker whose model answers NaN while a file is there: `python -m benchmarks.ladder.spoiled_worker FILE worker …`.

The product has no switch for that; what is wrong is wrapped around it here, before it starts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from model_core.arrays import AnyArray
from model_core.model_inputs import ModelInputs
from model_core.models.ridge import Ridge


def spoil(flag: Path) -> None:
    answer = Ridge.__call__

    def spoiled(self: Ridge, inputs: ModelInputs) -> AnyArray:
        outputs: AnyArray = answer(self, inputs)
        return np.full_like(outputs, np.nan) if flag.exists() else outputs

    Ridge.__call__ = spoiled  # type: ignore[method-assign]


if __name__ == "__main__":
    flag, *sys.argv[1:] = sys.argv[1:]
    spoil(Path(flag))
    from stream_app.cli import main

    main()
