"""Whatever ends the demo, at whatever moment: nothing that it started is left, neither process nor folder."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from stream_app.demo.processes import Child, StopSignals
from tests.conftest import REPOSITORY

TIDECAST = (sys.executable, "-c", "from stream_app.cli import main; main()")
LATEST_S = 14.0  # of the moments tried: services are up, the worker runs, readings flow


def descendants(pid: int, known: dict[int, psutil.Process]) -> None:
    """Add all children there are now, the servers' sessions included."""
    try:
        found = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    known |= {each.pid: each for each in found if each.pid not in known}


def alive(known: dict[int, psutil.Process]) -> list[str]:
    return [str(each) for each in known.values() if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.services
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak), signal.SIGKILL]
)
def test_the_demo_leaves_nothing_behind(number, rng, tmp_path):
    at_s = float(rng.uniform(0.5, LATEST_S))
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with tempfile.TemporaryFile() as said:
        demo = subprocess.Popen(
            [*TIDECAST, "demo", "--once"], cwd=REPOSITORY, stdout=said, stderr=said, env=environment
        )
        known: dict[int, psutil.Process] = {}
        until = time.monotonic() + at_s
        while time.monotonic() < until and demo.poll() is None:
            descendants(demo.pid, known)
            time.sleep(0.02)
        demo.send_signal(number)
        while demo.poll() is None:
            descendants(demo.pid, known)
            time.sleep(0.02)
        deadline = time.monotonic() + 60  # after SIGKILL the system ends the children: a moment later, or when it can
        while alive(known) and time.monotonic() < deadline:
            time.sleep(0.05)
        said.seek(0)
        told = f"signal after {at_s:.2f} s; the demo said: {said.read().decode()}"
    assert alive(known) == [], told
    if number != signal.SIGKILL:
        assert demo.returncode == 130, told
        assert list(tmp_path.glob("tidecast-*")) == [], told


def test_a_signal_waits_until_what_is_being_started_is_known():
    reached = []

    def start(signals: StopSignals) -> None:
        with signals.held():
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("inside")
        reached.append("after")

    with StopSignals() as signals:
        with pytest.raises(KeyboardInterrupt):
            start(signals)
        signals.stopping()
    assert reached == ["inside"]


def test_an_impatient_second_signal_does_not_interrupt_the_ending():
    with StopSignals() as signals:
        signals.stopping()
        os.kill(os.getpid(), signal.SIGINT)
        signals.check()


def test_a_signal_that_a_callback_swallowed_is_not_forgotten():
    with StopSignals() as signals:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signals.check()
        signals.stopping()


def test_a_failed_child_is_told_by_its_errors(tmp_path: Path):
    child = Child("worker", ["worker", "--config", str(tmp_path / "none.toml")], tmp_path / "worker.log")
    while child.ended() is None:
        time.sleep(0.05)
    assert child.ended() == 2
    assert "none.toml" in child.log_tail()
    (tmp_path / "worker.log").write_text(
        '{"event": "started", "level": "info"}\n{"event": "it broke", "level": "error", "error": "disk"}\nbye\n'
    )
    assert child.log_tail() == "it broke: disk"
    child.stop()


def test_a_child_that_ignores_the_signal_ends_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("stream_app.demo.processes.STOP_TIMEOUT_S", 0.3)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    monkeypatch.setattr("stream_app.demo.processes.TIDECAST", (sys.executable, "-c", stubborn))
    child = Child("stubborn", [], tmp_path / "log")
    while not (tmp_path / "log").read_text():
        time.sleep(0.02)
    child.stop()
    assert child.ended() == -signal.SIGKILL
