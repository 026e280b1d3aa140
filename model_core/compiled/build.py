"""Compiles the C sources of a folder into shared libraries: at install time, and in a checkout whose C has changed.

The compiler is the one inside the `ziglang` package, so that nobody who installs tidecast needs one, and one source
gives one result everywhere. This module must not know what the kernels do, nor import anything of tidecast, because the
build hook runs it before tidecast can be imported.

Floating point is compiled as written: no contraction into fused operations, no reassociation. So the result of a row
depends on that row alone, neither on its neighbours nor on the width of the vectors; strict mode is built on that.
"""

import hashlib
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

Folder = Path
HERE: Folder = Path(__file__).resolve().parent
# What a processor must have, best first: the loader takes the first one that the machine offers.
LEVELS = {"x86_64": ("x86_64_v3", "x86_64_v2"), "aarch64": ("generic",)}
GLIBC = "2.28"  # manylinux_2_28, as torch's wheels
FLAGS = (
    *("-std=c11", "-O3", "-shared", "-fPIC", "-ffp-contract=off", "-fno-math-errno"),
    *("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wno-sign-conversion"),
)


def libraries(folder: Path = HERE) -> dict[str, Path]:
    """Processor level → where the library for it lies, or will: the name carries what it is made from.

    RuntimeError on a processor that nobody has compiled for.
    """
    machine = platform.machine()
    if machine not in LEVELS:
        raise RuntimeError(f"tidecast's kernels are compiled for {', '.join(LEVELS)}; this machine is {machine}")
    made_from = hashlib.sha256(repr((FLAGS, GLIBC)).encode())
    for source in _sources(folder):
        made_from.update(source.name.encode() + b"\0" + source.read_bytes())
    return {level: folder / f"kernels-{level}-{made_from.hexdigest()[:16]}.so" for level in LEVELS[machine]}


def build(folder: Path = HERE) -> list[Path]:
    """Compile what is missing; each library appears whole or not at all, whoever else is building it.

    RuntimeError when there is no compiler, or with what the compiler said.
    """
    wanted = libraries(folder)
    if not all(path.exists() for path in wanted.values()):
        for stale in folder.glob("kernels-*.so"):
            if stale not in wanted.values():
                stale.unlink(missing_ok=True)
    for level, path in wanted.items():
        if not path.exists():
            _compile(level, path)
    return list(wanted.values())


def _sources(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.c"), *folder.glob("*.h")])


def _compile(level: str, path: Path) -> None:
    sources = sorted(path.parent.glob("*.c"))
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        made = Path(folder) / path.name
        command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{platform.machine()}-linux-gnu.{GLIBC}"]
        command += [f"-mcpu={level}", *FLAGS, "-o", str(made), *map(str, sources), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        if done.returncode != 0:
            raise RuntimeError(
                f"tidecast's kernels did not compile for {level} (the compiler is the package ziglang; in a checkout "
                f"`make setup` installs it):\n{done.stderr.strip()[-4000:]}"
            )
        made.replace(path)
