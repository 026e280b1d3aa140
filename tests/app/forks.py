"""Worker processes without the wait: one process imports what a worker imports, and each worker is a fork of it.

The imports take more of a core than all that most workers do afterwards, and the tests start some 150 of them.
Everything after the imports is as on the command line: a process of its own, with its own arguments, output, signals
and exit code. Whatever a fork would share by mistake (threads, connections) does not exist yet when it is made.

`python -m tests.app.forks` is that process. It reads the arguments of `become`, a JSON object a line, and writes
{"born": pid} and {"ended": pid, "code": exit code, negative for a signal}.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
BORN_TIMEOUT_S = 120  # the first one waits for the imports
ENDS = {signal.SIGCHLD}
TIDECAST = str(Path(sys.executable).with_name("tidecast"))


class Fork:
    """A worker; what tests use of subprocess.Popen, of a process that is not our child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def ended(self, code: int) -> None:
        self.returncode = code
        self._ended.set()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ends just now
                os.kill(self.pid, number)


class Nursery:
    """Our end of the process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
        )
        self._one_at_a_time = threading.Lock()
        self._born: queue.Queue[Fork] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, wanted: dict[str, Any]) -> Fork:
        assert self._process.stdin is not None
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            self._process.stdin.flush()
            return self._born.get(timeout=BORN_TIMEOUT_S)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        alive: dict[int, Fork] = {}
        for line in self._process.stdout:
            said = json.loads(line)
            if "born" in said:
                alive[said["born"]] = fork = Fork(said["born"])
                self._born.put(fork)
            else:
                alive.pop(said["ended"]).ended(said["code"])


@cache
def _nursery() -> Nursery:
    """The only one; it ends when we do, with its input."""
    return Nursery()


def begin(
    words: Sequence[str], out: Path, err: Path | None = None, **environment: str
) -> Fork | subprocess.Popen[bytes]:
    """`words`: `tidecast …`, or `python -m module …`. `out` and `err` get what it writes; without `err`, `out` all."""
    for path in (out, err or out):
        path.touch()
    if sys.platform != "linux":  # elsewhere libraries do not bear a fork
        return begin_anew(words, out, err, **environment)
    return _nursery().start({"words": list(words), "out": str(out), "err": str(err or out), "environment": environment})


def begin_anew(words: Sequence[str], out: Path, err: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
    """The same, begun by the system, imports and all, as users do."""
    with out.open("ab") as stdout, (err or out).open("ab") as stderr:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=REPOSITORY,
            env=os.environ | environment,
        )


def run(*arguments: str, timeout_s: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """`tidecast` with these arguments, to its end."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        code = begin((TIDECAST, *arguments), out, err, **environment).wait(timeout_s)
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


# --- in the process that forks ----------------------------------------------------------------------------------------


def serve() -> dict[str, Any] | None:
    """What a fork shall run, in the fork; None once nobody asks any more."""
    tell = os.dup(1)
    os.dup2(2, 1)

    def reap(*_: Any) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                say(ended=found[0], code=os.waitstatus_to_exitcode(found[1]))

    def say(**what: int) -> None:
        os.write(tell, json.dumps(what).encode() + b"\n")

    signal.signal(signal.SIGCHLD, reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: whoever asks for workers ends them
    for line in sys.stdin:
        wanted: dict[str, Any] = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # birth is told before death
        pid = os.fork()
        if not pid:
            os.close(tell)
            return wanted
        say(born=pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
    return None


def become(words: Sequence[str], out: str, err: str, environment: dict[str, str]) -> None:
    """The command, in this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, path in enumerate((os.devnull, out, err)):
        source = os.open(path, os.O_RDWR | os.O_APPEND)
        os.dup2(source, target)
        os.close(source)
    os.environ.update(environment)
    program, *rest = words
    if program == TIDECAST:
        sys.argv = [program, *rest]
        from stream_app.cli import main

        main()
    else:
        option, module, *arguments = rest
        assert option == "-m", f"expected `python -m module`, found {words}"
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def load() -> None:
    """What a worker imports, as early as it would: threads are pinned before numpy is there."""
    from stream_app.runtime.threads import pin_threads

    pin_threads()
    import stream_app.cli.worker
    import stream_app.settings
    import stream_app.worker  # noqa: F401

    assert threading.active_count() == 1, "a thread would be missing in every fork"
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    load()
    job = serve()
    if job is not None:
        become(**job)
