"""A real headless Chromium: the system's, or Debian's packages unpacked into .tidecast/chromium; nothing is installed.

The packages come by `apt-get download`, 100 MB and ten seconds the first time: these tests need Debian or a Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import REPOSITORY

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PACKAGE = "chromium-headless-shell"
FOLDER = REPOSITORY / ".tidecast" / "chromium"
TIMEOUT_S = 300


@dataclass(frozen=True)
class Chromium:
    path: Path
    environment: dict[str, str]


def find_chromium() -> Chromium:
    """Skips the test, with the reason, where there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return Chromium(Path(found), dict(os.environ))
    if not shutil.which("apt-get"):
        pytest.skip("needs a Chromium: install one, or run on Debian")
    return _unpacked()


def _unpacked() -> Chromium:
    FOLDER.parent.mkdir(exist_ok=True)
    program = FOLDER / "usr" / "lib" / "chromium" / "chromium-headless-shell"
    with FileLock(FOLDER.with_suffix(".lock")):
        if not (FOLDER / "complete").exists():
            shutil.rmtree(FOLDER, ignore_errors=True)
            FOLDER.mkdir()
            try:
                _unpack()
            except subprocess.CalledProcessError as error:
                pytest.skip(f"Debian's Chromium could not be fetched: {error.stderr[-500:]}")
            (FOLDER / "complete").touch()
    libraries = [str(path) for path in (FOLDER / "usr" / "lib").glob("*-linux-gnu*")]
    libraries += [str(Path(each) / "pulseaudio") for each in libraries]
    return Chromium(program, os.environ | {"LD_LIBRARY_PATH": ":".join(libraries)})


def _unpack() -> None:
    """The package, and of what it depends on all that this system does not have."""
    planned = _run("apt-get", "--simulate", "--no-install-recommends", "install", PACKAGE)
    packages = re.findall(r"^Inst (\S+)", planned, re.MULTILINE)
    _run("apt-get", "download", *packages)
    for archive in FOLDER.glob("*.deb"):
        _run("dpkg-deb", "--extract", str(archive), ".")
        archive.unlink()


def _run(*words: str) -> str:
    done = subprocess.run(words, cwd=FOLDER, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    return done.stdout
