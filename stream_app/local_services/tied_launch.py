"""Become another program that dies with the process that asked for it. Linux only.

Run as a script: `python -I -S tied_launch.py PARENT_PID PROGRAM ARGUMENTS…`. It is a separate program, not a
`preexec_fn`, because running Python between fork and exec can deadlock in a parent that has threads, and ours has many.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent_pid, program = int(sys.argv[1]), sys.argv[2]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The parent may have gone before the call above: then nobody would ever tell us.
    if os.getppid() != parent_pid:
        sys.exit(0)
    os.execv(program, sys.argv[2:])


if __name__ == "__main__":
    main()
