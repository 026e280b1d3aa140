"""Writes checkpoint_layout_N.json: what a worker of this version leaves in Redis, to hold later versions against.

Run it from the repository's root, `python -m tests.golden.make_checkpoint`, before the layout of the state is raised:
the file is then what a rolling upgrade finds. It holds the log, the keys of the partition under the name of the
deployment, and the forecasts that this version made of the readings after the checkpoint.
"""

import base64
import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import redis

from model_core.layouts import STATE_LAYOUT
from stream_app.local_services import LocalServices
from tests.app.running_worker import World, readings

FOLDER = Path(__file__).parent
STREAM = ""
BEFORE, AFTER, SERIES = 40, 10, 3
FIELDS = ("series_id", "origin", "revision", "quantiles", "status", "reason", "model", "observed_share")


def log_of() -> list[tuple[str, str]]:
    """Waves with noise, BEFORE ticks that the checkpoint contains and AFTER ticks that it does not."""
    rng = np.random.default_rng(20_261_125)
    ticks = np.arange(BEFORE + AFTER)[:, None]
    values = 10 + np.sin(ticks / 3 + np.arange(SERIES)) + rng.normal(0, 0.2, (BEFORE + AFTER, SERIES))
    return readings(np.round(values, 3).tolist())


def packed(data: bytes) -> str:
    return base64.b85encode(zlib.compress(data, 9)).decode()


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


def dump(client: Any, prefix: str) -> dict[str, Any]:
    """Keys of one partition, by what follows the prefix."""
    found: dict[str, Any] = {}
    for key in sorted(client.scan_iter(match=f"{prefix}:*", count=1000)):
        name, kind = key.decode().removeprefix(f"{prefix}:"), client.type(key)
        if kind == b"string":
            found[name] = packed(client.get(key))
        elif kind == b"hash":
            found[name] = {field.decode(): packed(value) for field, value in sorted(client.hgetall(key).items())}
        else:
            found[name] = sorted(packed(member) for member in client.smembers(key))
    return found


def load(client: Any, prefix: str, keys: dict[str, Any]) -> None:
    """The opposite of `dump`."""
    for name, held in keys.items():
        key = f"{prefix}:{name}"
        if isinstance(held, str):
            client.set(key, unpacked(held))
        elif isinstance(held, dict):
            client.hset(key, mapping={field: unpacked(value) for field, value in held.items()})
        else:
            client.sadd(key, *map(unpacked, held))


def make(services: LocalServices, folder: Path) -> dict[str, Any]:
    world = World(services.kafka_bootstrap, services.redis_url, "golden.in", 1, folder)
    world.create(world.topic)
    config, log = world.deployment("a", stream=STREAM), log_of()
    worker = world.start(config)
    world.send(log[: BEFORE * SERIES])
    world.wait_for_forecasts("a", BEFORE * SERIES)
    assert worker.stop() == 0
    with redis.Redis.from_url(services.redis_url) as client:
        keys = dump(client, "{golden.in.a:tides:0}")
    worker = world.start(config)
    world.send(log[BEFORE * SERIES :])
    made = world.wait_for_forecasts("a", (BEFORE + AFTER) * SERIES)
    assert worker.stop() == 0
    forecasts = [{name: each[name] for name in FIELDS} for each in made.values()]
    later = sorted({each["origin"] for each in forecasts})[BEFORE:]
    return {
        "layout": STATE_LAYOUT,
        "committed": BEFORE * SERIES,
        "log": log,
        "keys": keys,
        "forecasts": [each for each in forecasts if each["origin"] in later],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        downloads = FOLDER.parents[1] / ".tidecast" / "kafka-jars"
        with LocalServices(Path(folder) / "services", free_ports=True, downloads=downloads) as services:
            made = make(services, Path(folder))
    path = FOLDER / f"checkpoint_layout_{STATE_LAYOUT}.json"
    path.write_text(json.dumps(made, separators=(",", ":")).replace("},{", "},\n{") + "\n")
    print(f"wrote {path.name}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
