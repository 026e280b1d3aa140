"""Past: what windows whose cells are forgotten have taught, as sums, and as arrays that can be stored.

A row of the sums counts for as many windows as it stands for: where windows are thinned out (ridge_training.py) it also
stands for those that were left out, so that spans with different thinning can be added.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_core.arrays import AnyArray, IntArray
from model_core.models.ridge_fit import Design, Sums

_SYMMETRIC = ("gram", "absent")  # written down as the triangle below the diagonal
_STARTS = "starts"


@dataclass(frozen=True)
class Past:
    """Sums over the windows whose origin is a tick in [first, until). Ages count from `until`."""

    sums: Sums
    starts: IntArray  # int64 [P], of their columns (Design)
    first: int
    until: int

    def fits(self, design: Design, target_columns: int, horizon: int) -> bool:
        """Whether sums over other windows with this design can be added."""
        shape = (horizon, len(design.starts), target_columns)
        return np.array_equal(self.starts, design.starts) and tuple(self.sums.cross.shape) == shape

    def arrays(self) -> dict[str, AnyArray]:
        """All but `first` and `until`."""
        parts = {_STARTS: self.starts}
        rows, columns = np.tril_indices(len(self.starts))
        for field in fields(Sums):
            part: Tensor | None = getattr(self.sums, field.name)
            if part is not None:
                array = part.numpy()
                parts[field.name] = array[..., rows, columns] if field.name in _SYMMETRIC else array
        return parts

    @classmethod
    def of_arrays(cls, parts: dict[str, AnyArray], first: int, until: int) -> "Past":
        """The past whose `arrays()` these are."""
        starts = parts[_STARTS]
        read: dict[str, Any] = {}
        rows, columns = np.tril_indices(len(starts))
        for field in fields(Sums):
            array = parts.get(field.name)
            if array is not None and field.name in _SYMMETRIC:
                whole = np.empty((*array.shape[:-1], len(starts), len(starts)))
                whole[..., rows, columns] = whole[..., columns, rows] = array
                array = whole
            # A copy: what was read from a file may not be written to.
            read[field.name] = None if array is None else torch.from_numpy(np.array(array))
        return cls(Sums(**read), starts, first, until)
