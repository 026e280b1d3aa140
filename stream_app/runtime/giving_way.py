"""Low priority: a process that lets others on its machine go first.

Where Linux groups sessions by itself (sched(7), "The autogroup feature"), it first weighs sessions against each other,
and nice only counts among the processes of one session. A systemd service or a container is not grouped so; there its
own weight counts (CPUWeight, cpu_shares, requests).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")
# Linux lets all users but root change one session in 100 ms, of the whole machine.
ATTEMPTS_MAX, AGAIN_S = 20, 0.1


def give_way(nice: int) -> None:
    """Lower our priority; before threads are started, which inherit it. `nice` (0 … 19) is added to the present one."""
    now = os.nice(nice)
    if nice and os.getsid(0) == os.getpid():  # not a session that others are in, such as a shell's
        for _ in range(ATTEMPTS_MAX):
            try:
                AUTOGROUP.write_text(str(now))
            except BlockingIOError:
                time.sleep(AGAIN_S)
            except OSError:  # no such thing here, or not for us
                return
            else:
                return
