"""What was started, on disk, so that the next command finds it, and ends what a crash left behind.

A process is identified by pid and creation time. The system reuses pids, so a pid alone could name another program,
which would then be ended by mistake.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

# psutil reads the creation time in clock ticks since boot, and the boot time in whole seconds.
CREATE_TIME_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class Recorded:
    """One server as it was started."""

    pid: int
    create_time_s: float
    ports: dict[str, int] = field(default_factory=dict)

    def process(self) -> psutil.Process | None:
        """The process itself if it still runs; never another one that got the same pid later."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.create_time_s) > CREATE_TIME_TOLERANCE_S:
                return None
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return process


class StateFile:
    """`services.json`: server name → Recorded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Recorded]:
        """Empty if there is no file, or if a crash of the machine left it unreadable."""
        try:
            entries = json.loads(self.path.read_text())
            return {name: Recorded(**entry) for name, entry in entries.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return {}

    def put(self, name: str, recorded: Recorded) -> None:
        self._write(self.read() | {name: recorded})

    def remove(self, name: str) -> None:
        entries = self.read()
        if entries.pop(name, None) is not None:
            self._write(entries)

    def _write(self, entries: dict[str, Recorded]) -> None:
        """Replace the file atomically: a reader, or a crash, finds the old file or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".json.new")
        temporary.write_text(json.dumps({name: asdict(entry) for name, entry in entries.items()}, indent=2) + "\n")
        temporary.replace(self.path)
