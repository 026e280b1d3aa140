"""Other systems on W1, from a folder that the option --peers names: scripts that print a line RESULT … rate=N/s.

They are not part of this project, each has its own needs, and one that cannot run says so in the table.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Row
from benchmarks.stage import Stage
from benchmarks.workload import Workload, create_topics, delete_topics

OUTPUT = "w1-out"
PEER_TIMEOUT_S = 180
LIMIT = "200000"  # readings after which a slow one stops


@dataclass(frozen=True)
class Peer:
    name: str
    arguments: tuple[str, ...]


PEERS = (
    Peer("Faust, an event at a time", ("s1_faust_event.py", "worker", "-l", "error")),
    Peer("Faust, take(1000)", ("s2_faust_take.py", "worker", "-l", "error")),
    Peer("Quix Streams, at least once", ("s3_quix.py", "at-least-once", LIMIT)),
    Peer("Bytewax", ("s4_bytewax.py",)),
)


def peer_rate(stage: Stage, folder: Path, peer: Peer, workload: Workload) -> Row:
    """By the folder's own environment where it has one."""
    own = folder / ".venv" / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    create_topics(stage.bootstrap, [OUTPUT], workload.partitions)
    variables = {
        "KAFKA": stage.bootstrap,
        "REDIS_PORT": stage.redis_url.rsplit(":", 1)[1].split("/")[0],
        "W1_S": str(workload.series),
        "W1_T": str(workload.ticks),
        "LIMIT": LIMIT,
    }
    try:
        done = subprocess.run(
            [python, *peer.arguments],
            cwd=folder,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PEER_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Row(peer.name, None, "readings/s", note=f"not run: no result within {PEER_TIMEOUT_S} s")
    finally:
        delete_topics(stage.bootstrap, [OUTPUT])
        stage.empty_store()
    found = re.search(r"^RESULT .*\brate=([\d,]+)/s", done.stdout, re.MULTILINE)
    if found is None:
        last = (done.stderr.strip().splitlines() or ["it printed no result"])[-1]
        return Row(peer.name, None, "readings/s", note=f"not run: {last[:200]}")
    return Row(peer.name, float(found[1].replace(",", "")), "readings/s")
