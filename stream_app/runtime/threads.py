"""How many threads the numeric libraries may use: one each. Spinning threads cost a third of the CPU (measured); a
worker scales by more processes in its consumer group.

Must be called before numpy and torch are imported: both look once, when they are loaded.
"""

import os

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def pin_threads() -> None:
    for name in _VARIABLES:
        os.putenv(name, "1")  # for the libraries' own getenv
