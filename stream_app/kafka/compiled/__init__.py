"""Compiled kernels beside their C: messages become columns, and columns records, without Python code for each."""

from pathlib import Path

from model_core.compiled import ARRAY, INT, Kernel, load

_LIBRARY = load(Path(__file__).parent)
PATH = str(_LIBRARY[0]._name)  # librdkafka loads it too, as a plugin

use_functions = Kernel("use_functions", [ARRAY], library=_LIBRARY)
newest_client = Kernel("newest_client", [ARRAY], INT, library=_LIBRARY)
forward = Kernel("forward", [ARRAY, ARRAY], library=_LIBRARY)
take = Kernel("take", [ARRAY, INT, INT, INT, ARRAY], INT, library=_LIBRARY)
measure = Kernel("measure", [ARRAY, ARRAY, ARRAY, ARRAY], INT, library=_LIBRARY)
copy = Kernel("copy", [ARRAY, INT, ARRAY, ARRAY], INT, library=_LIBRARY)
release = Kernel("release", [ARRAY], library=_LIBRARY)
produce = Kernel("produce", [INT, ARRAY, ARRAY, ARRAY], INT, library=_LIBRARY)
