"""How many threads the numeric libraries may take: one each. Spinning threads cost a third of the CPU (measured); a
worker scales by processes in its consumer group.

Knows nothing but names of variables; must be called before numpy and torch are imported.
"""

import os

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def pin_threads() -> None:
    """What the person has set stays."""
    for name in _VARIABLES:
        os.environ.setdefault(name, "1")
