"""A worker with a model is killed again and again: each forecast once, with the bytes that anyone computes. On the CPU,
and on a GPU where there is one."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from model_core.ladder import RUNG_NAMES
from tests.app.running_worker import World
from tests.core.devices import TORCH_DEVICES
from tests.scenario.test_stream_equals_offline import (
    PARTITIONS,
    Deployment,
    compare,
    demo_log,
    offline,
    play,
    trained_on_the_first_part,
)

KILLS = 3
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def partitions() -> int:
    return PARTITIONS


@pytest.mark.parametrize("device", TORCH_DEVICES)
def test_kills_leave_each_forecast_once_with_the_bytes_of_an_undisturbed_computation(
    world: World, rng: np.random.Generator, device: str
) -> None:
    log = demo_log(rng)
    deployment = Deployment(world, "killed", strict=True, device=device)
    bundle = trained_on_the_first_part(deployment.spec, log)
    began = play(world, log, [deployment], bundle)
    assert ("NVIDIA" if device == "cuda" else "cpu") in deployment.worker.wait_for("started")["device"]
    readings = sum(len(part) for part in log.partitions)
    cuts = np.linspace(began, 1, KILLS + 1)
    for start, end in pairwise(cuts.tolist()):
        log.send(world, start, end)
        deployment.wait_until_committed(int(readings * (start + rng.uniform(0, 0.8) * (end - start))))
        deployment.worker.kill()
        deployment.begin()
    deployment.wait_until_committed(readings)
    assert 'tidecast_device_fallbacks_total{stream="sensors"} 0.0' in deployment.worker.metrics()
    said = [json.loads(message.value()) for message in world.published("killed", "forecasts") if message.value()]
    times = Counter((each["series_id"], each["origin"], each["revision"]) for each in said)
    assert max(times.values()) == 1, "published twice"
    by_model = sum(each["model"] not in RUNG_NAMES for each in said)
    assert by_model > len(said) / 5, "hardly anything was answered by the model"
    published, swaps = deployment.forecasts(), deployment.swaps()
    computed = offline(deployment.spec, log, bundle, swaps, strict=True, device=device).forecasts
    assert published.keys() == computed.keys()
    compare(published, computed, strict=True)
