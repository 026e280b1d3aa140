"""Child processes that never outlive us, and signals that never interrupt us while one is being started.

On Linux the system itself ends a child when we end, whatever the cause. On all systems we end it in order when we can.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from stream_app.errors import TidecastError
from stream_app.local_services import tied_launch

STOP_TIMEOUT_S = 15.0
LOG_TAIL_LINES, LOG_LINE_MAX = 12, 300
TIDECAST = (sys.executable, "-c", "from stream_app.cli import main; main()")


class StopSignals:
    """While entered, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, except where they are held back."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._came = False
        self._holds = 0
        self._stopping = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in self.SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals take effect only after this block, when what it has started is known to us."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        self.check()

    def check(self) -> None:
        """To be called in loops: raises a KeyboardInterrupt again that some callback swallowed."""
        if self._came and not self._holds and not self._stopping:
            raise KeyboardInterrupt

    def stopping(self) -> None:
        """From here on everything is being ended. A second, impatient Ctrl-C must not interrupt that."""
        self._stopping = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        self.check()


class Child:
    """One `tidecast` command as a process group of its own, its output in a log file."""

    def __init__(self, name: str, arguments: Sequence[str], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        command = [*TIDECAST, *arguments]
        if sys.platform == "linux":
            launcher = str(Path(tied_launch.__file__))
            command = [sys.executable, "-I", "-S", launcher, str(os.getpid()), *command]
        with log_path.open("ab") as log:
            # Its own session: Ctrl-C in the terminal reaches us alone, and we end the children in order. The system
            # ties a child to the thread that started it, so this must be called from the main thread.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def require_running(self) -> None:
        if self.ended() is not None:
            raise TidecastError(
                f"tidecast {self.name} ended with exit code {self.ended()}. The end of its log:\n{self.log_tail()}"
            )

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL to its whole group, after STOP_TIMEOUT_S at most."""
        if self.ended() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):  # nothing is left of the group
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def log_tail(self) -> str:
        """Its last lines, for an error message. If there are log records of errors, only these."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        records = [_record(line) for line in lines]
        wrong = [
            f"{record['event']}: {record.get('error', '')}" for record in records if record.get("level") == "error"
        ]
        shown = [line[:LOG_LINE_MAX] for line in wrong or lines]
        return "\n".join(shown[-LOG_TAIL_LINES:]) or "(it wrote nothing)"


def _record(line: str) -> dict[str, Any]:
    """The record in a JSON log line, or {}."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) and "event" in record else {}
