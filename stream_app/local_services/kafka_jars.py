"""Kafka's jars: exactly the ones named in kafka_jars.sha256, fetched by `jgo`, checked, and kept.

jgo knows where jars come from, and honours a mirror in its own configuration file; a jar that Maven already has on this
machine is taken from there. `make kafka-jars` writes kafka_jars.sha256 anew.
"""

import hashlib
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stream_app.errors import TidecastError

KAFKA_VERSION = "4.3.1"
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# Kafka logs through slf4j, and its own dependencies name no place where that should go: this sends it to their log4j.
LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl")
LOGGING_LIKE = ("org.apache.logging.log4j", "log4j-core")
SUMS = Path(__file__).with_name("kafka_jars.sha256")
DOWNLOADS_AT_ONCE = 8
HASH_CHUNK_BYTES = 1 << 20

Progress = Callable[[int, int], None]  # (jars done, jars in all)


@dataclass(frozen=True)
class Jar:
    """One line of the sums: `<sha256>  <group>:<artifact>:<version>`."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinates(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def listed_jars() -> list[Jar]:
    lines = [line.split() for line in SUMS.read_text().splitlines() if line and not line.startswith("#")]
    return [Jar(digest, *coordinates.split(":")) for digest, coordinates in lines]


def install_kafka_jars(directory: Path, progress: Progress = lambda done, total: None) -> list[Path]:
    """The paths of the jars, below `directory`. Missing jars are fetched and checked. Quick if none is missing."""
    target = directory / KAFKA_VERSION
    target.mkdir(parents=True, exist_ok=True)
    jars = listed_jars()
    missing = [jar for jar in jars if not (target / jar.file_name).exists()]
    if missing:
        _fetch_all(missing, target=target, staging=directory / "download", progress=progress)
    return [target / jar.file_name for jar in jars]


def _fetch_all(jars: list[Jar], *, target: Path, staging: Path, progress: Progress) -> None:
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="kafka-jars") as pool:
        done = 0
        progress(done, len(jars))
        try:
            for _ in pool.map(lambda jar: _fetch(jar, target=target, staging=staging), jars):
                done += 1
                progress(done, len(jars))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    shutil.rmtree(staging, ignore_errors=True)


def _fetch(jar: Jar, *, target: Path, staging: Path) -> None:
    """A jar gets its final name only if its sum is right, so every jar under its final name has been checked."""
    source = _locate(jar, staging)
    found = sha256_of(source)
    if found != jar.sha256:
        source.unlink()
        raise TidecastError(
            f"The jar {jar.coordinates} is not the expected one: sha256 {jar.sha256} expected, {found} found. It was "
            "thrown away. Try again; if it happens again, do not trust where this machine gets its jars from."
        )
    source.replace(target / jar.file_name)


def _locate(jar: Jar, staging: Path) -> Path:
    """A copy of the jar in the staging folder: Maven's on this machine if its sum is right, else a fetched one."""
    import requests
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    settings = GlobalSettings.load()
    # A folder for each jar: what an interrupted download left behind is thrown away, never taken for a jar.
    own = staging / jar.file_name
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    there = settings.repo_cache.joinpath(*jar.group.split("."), jar.artifact, jar.version, jar.file_name)
    if there.is_file() and sha256_of(there) == jar.sha256:
        return Path(shutil.copy2(there, own))
    mirrors_first = {**settings.repositories, "central": MAVEN_CENTRAL_URL}
    context = MavenContext(repo_cache=own, remote_repos=mirrors_first)
    try:
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        return Path(component.artifact().resolve())
    except (requests.RequestException, RuntimeError, OSError) as error:
        raise TidecastError(
            f"Kafka's jars cannot be had here: fetching {jar.coordinates} failed ({type(error).__name__}). "
            "Two other ways: `docker compose up -d` starts Kafka and Valkey in containers; or name a broker of your "
            "own by TIDECAST__KAFKA__BOOTSTRAP_SERVERS=HOST:9092 (bootstrap_servers under [kafka] in tidecast.toml)."
        ) from error


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_sums() -> None:
    """For maintainers, after KAFKA_VERSION changed: resolve Kafka's dependencies, and write their sums."""
    import jgo
    from jgo.maven import MavenContext

    artifacts = {(each.groupId, each.artifactId): each for each in jgo.resolve(KAFKA)}
    # Not resolved together with Kafka: log4j's own dependency management would then choose an older kafka-clients.
    version = artifacts[LOGGING_LIKE].version
    artifacts[LOGGING] = MavenContext().project(*LOGGING).at_version(version).artifact()
    lines = [f"# The jars of {KAFKA} and of {LOGGING[1]}, written by `make kafka-jars`."]
    for (group, artifact), each in sorted(artifacts.items()):
        lines.append(f"{sha256_of(Path(each.resolve()))}  {group}:{artifact}:{each.version}")
    SUMS.write_text("\n".join(lines) + "\n")
    sys.stdout.write(f"{len(lines) - 1} jars in {SUMS.name}\n")
