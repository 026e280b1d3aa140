"""Programs that the proofs run: found, fetched by deploy/prove/get, waited for."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
REPOSITORY = Path(__file__).parents[2]
GET = Path(__file__).parent / "get"
PAGES = REPOSITORY / "docs" / "proofs" / "deploy"


class Unproven(Exception):
    """A sentence: what was expected, and what was seen instead."""


def expect(seen: object, sentence: str) -> None:
    """Raise Unproven(sentence) unless it was seen."""
    if not seen:
        raise Unproven(sentence)


def require(packages: dict[str, str], why_root: str) -> None:
    """Unproven unless this is root on a machine that has these programs: name → its Debian package."""
    missing = [program for program in packages if not shutil.which(program)]
    install = " ".join(packages.values())
    expect(not missing, f"this step takes {', '.join(missing)}: apt-get install --no-install-recommends {install}")
    expect(os.geteuid() == 0, f"this step takes root: {why_root}")


def get(script: str, *arguments: str | Path) -> None:
    """Run one of deploy/prove/get; it does nothing where its result is there already."""
    log = REPOSITORY / ".tidecast" / "prove" / f"{script}.log"
    with log.open("ab") as out:
        done = subprocess.run([str(GET / script), *map(str, arguments)], stdout=out, stderr=subprocess.STDOUT)
    expect(done.returncode == 0, f"deploy/prove/get/{script} failed with {done.returncode}; see {log}")


def run(command: Sequence[str | Path], *, timeout_s: float = 120, code: int | None = 0) -> str:
    """Its output, stderr included; Unproven when it ends otherwise. code None: any."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )
    if code is not None and done.returncode != code:
        shown = " ".join(str(word) for word in command)[-300:]
        raise Unproven(f"expected code {code} of `{shown}`, found {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def wait_for(look: Callable[[], T], what: str, timeout_s: float = 60) -> T:
    """What `look` returns once it is true; an error of the operating system counts as not yet."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except OSError:
            pass
        time.sleep(0.2)
    raise Unproven(f"not within {timeout_s:g} s: {what}")
