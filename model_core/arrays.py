"""Names for the numpy types that modules pass to each other; shapes are in comments beside them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]
CodeArray = NDArray[np.int8]
BoolArray = NDArray[np.bool_]
AnyArray = NDArray[Any]
