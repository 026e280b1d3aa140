"""One server as a child process: start, wait until it answers, stop, kill, and start again on the same ports.

Knows nothing of Kafka or Valkey: what differs is in `Server`, which their two files subclass.
"""

import subprocess
import sys
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from os import getpid
from pathlib import Path

import psutil

from stream_app.errors import TidecastError
from stream_app.local_services.ports import LOCALHOST, holder, is_free
from stream_app.local_services.state_file import Recorded, StateFile

POLL_INTERVAL_S = 0.05
STOP_TIMEOUT_S = 20.0
KILL_TIMEOUT_S = 10.0
LOG_TAIL_LINES = 25


@cache
def _starter() -> ThreadPoolExecutor:
    """The one thread that starts processes.

    Linux ends a tied process when the *thread* that started it ends, not only when the process does. A test that
    restarts a broker from a short-lived thread would lose it again; this thread lives as long as the program. And
    Ctrl-C interrupts only the main thread, so here each process that was started is also recorded.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-services")


class PortTaken(TidecastError):
    """Another program listens on that port. If the port was chosen at random, another one is chosen."""


class Server(ABC):
    """One server. `tied`: it dies with this program, even if the program is killed with SIGKILL."""

    name: str
    ready_timeout_s: float

    def __init__(self, *, directory: Path, ports: dict[str, int], tied: bool, state_file: StateFile) -> None:
        self.directory = directory
        self.ports = ports
        self.log_path = directory / "logs" / f"{self.name}.log"
        self._tied = tied
        self._state_file = state_file
        self._child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Write configuration and data folders; called before each start, so it must be repeatable."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def answers(self) -> bool:
        """Whether a real request is answered now. If not, it returns False within about a second."""

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self.ports["client"]

    @property
    def address(self) -> str:
        return f"{LOCALHOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        process = self._process()
        return process.pid if process else None

    def is_running(self) -> bool:
        return self._process() is not None

    def start(self) -> None:
        """Start it and wait until it answers. Does nothing if it already runs."""
        if self.is_running():
            return
        self._check_ports()
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.prepare()
        launched = _starter().submit(self._launch)
        try:
            launched.result()
            self._wait_until_ready()
        except BaseException:  # Ctrl-C included: a server that nobody waits for must not stay
            wait([launched])
            self.kill()
            raise

    def stop(self) -> None:
        """Let it end in order (SIGTERM). If it has not ended within 20 s, kill it."""
        process = self._process()
        if process is not None:
            process.terminate()
            if not self._wait_gone(process, STOP_TIMEOUT_S):
                self.kill()
        self._forget()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL): for fault tests. `start()` brings it back on the same ports."""
        process = self._process()
        if process is not None:
            process.kill()
            self._wait_gone(process, KILL_TIMEOUT_S)
        self._forget()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): until `resume()`, connections stay open and nothing is answered."""
        process = self._process()
        if process is not None:
            process.suspend()

    def resume(self) -> None:
        process = self._process()
        if process is not None:
            process.resume()

    def log_tail(self) -> str:
        """The last lines it wrote, for error messages."""
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "(no log was written)"
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def _process(self) -> psutil.Process | None:
        """The process in the state file, so that servers started by another program are seen as well."""
        if self._child is not None:
            self._child.poll()  # takes the exit status of a child that ended, so that it does not stay a zombie
        recorded = self._state_file.read().get(self.name)
        return recorded.process() if recorded else None

    def _forget(self) -> None:
        if self._child is not None:
            self._child.poll()
            self._child = None
        self._state_file.remove(self.name)

    def _wait_gone(self, process: psutil.Process, timeout_s: float) -> bool:
        try:
            process.wait(timeout_s)
        except psutil.TimeoutExpired:
            return False
        return True

    def _check_ports(self) -> None:
        for port in self.ports.values():
            if not is_free(port):
                raise PortTaken(
                    f"{self.name} needs port {port} of {LOCALHOST}, and {holder(port)} has it. End that program, or "
                    "let free ports be chosen (tidecast services up --free-ports)."
                )

    def _launch(self) -> None:
        self._child = self._spawn()
        try:
            create_time_s = psutil.Process(self._child.pid).create_time()
        except psutil.NoSuchProcess:  # it ended at once; waiting for it will say why
            return
        self._state_file.put(self.name, Recorded(self._child.pid, create_time_s, self.ports))

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self.command()
        if self._tied and sys.platform == "linux":
            launcher = str(Path(__file__).with_name("tied_launch.py"))
            command = [sys.executable, "-I", "-S", launcher, str(getpid()), *command]
        with self.log_path.open("ab") as log:
            # Its own session: Ctrl-C in the terminal reaches us alone, and we end the servers in order.
            return subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.ready_timeout_s
        while not self.answers():
            if not self.is_running():
                self._check_ports()  # somebody may have taken one between our look and the server's
                raise TidecastError(
                    f"{self.name} ended while it was starting. The end of {self.log_path}:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise TidecastError(
                    f"{self.name} did not answer on {self.address} within {self.ready_timeout_s:.0f} s. "
                    f"The end of {self.log_path}:\n{self.log_tail()}"
                )
            time.sleep(POLL_INTERVAL_S)
