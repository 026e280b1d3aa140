"""docker-compose.yml as Docker Compose itself reads it, with every profile, and broken copies that it must refuse."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from deploy.prove.programs import REPOSITORY, expect, get, run

FILE = REPOSITORY / "docker-compose.yml"
# What is broken → (text as it is, text that Compose must refuse)
BROKEN = {
    "an unknown key": ("read_only: true", "readonly: true"),
    "a wait for a service that does not exist": (
        "valkey: {condition: service_healthy}",
        "redis: {condition: service_healthy}",
    ),
    "a condition that does not exist": ("condition: service_completed_successfully", "condition: service_done"),
    "a volume that was not declared": ('"kafka:/var/lib/kafka/data"', '"broker:/var/lib/kafka/data"'),
    "a configuration that was not declared": ("{source: tidecast, ", "{source: other, "),
    "a duration without a unit": ("stop_grace_period: 60s", "stop_grace_period: 60 seconds"),
}


def prove(folder: Path) -> Iterator[str]:
    get("compose.sh", folder)
    compose: list[str | Path] = [folder / "bin" / "docker-compose"]
    version = run([*compose, "version", "--short"]).strip()
    profiles = ["--profile", "*"]
    run([*compose, "-f", FILE, *profiles, "config", "--quiet"])
    shown = yaml.safe_load(run([*compose, "-f", FILE, *profiles, "config"]))
    services = shown["services"]
    yield f"Docker Compose {version} accepts docker-compose.yml with every profile: {', '.join(sorted(services))}"
    outside = [
        f"{name}:{port['published']}"
        for name, service in services.items()
        for port in service.get("ports", ())
        if port.get("host_ip") != "127.0.0.1"
    ]
    expect(not outside, f"expected every port on 127.0.0.1, found {outside}")
    yield "as Compose resolves it, every published port is on 127.0.0.1"
    started = run([*compose, "-f", FILE, "config", "--services"]).split()
    yield f"without a profile it starts {', '.join(sorted(started))}"
    text = FILE.read_text()
    broken = REPOSITORY / ".docker-compose.broken.yml"  # beside the real one: paths in it are relative
    try:
        for what, (good, bad) in BROKEN.items():
            expect(good in text, f"docker-compose.yml has no longer {good!r}; mend BROKEN")
            broken.write_text(text.replace(good, bad, 1))
            output = run([*compose, "-f", broken, *profiles, "config", "--quiet"], code=None)
            expect(output.strip(), f"Compose accepted {what}: {bad}")
    finally:
        broken.unlink(missing_ok=True)
    yield f"it refuses {len(BROKEN)} broken copies: {', '.join(BROKEN)}"
