"""Workers on the real store."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import redis

from tests.app.checkpoints.worker import Worker


@pytest.fixture
def start(redis_client: redis.Redis, application_id: str) -> Callable[..., Worker]:
    """start() is a new process: it becomes the owner."""
    return lambda client=redis_client, **options: Worker(client, application_id, **options)


@pytest.fixture
def worker(start: Callable[..., Worker], rng: np.random.Generator) -> Worker:
    """An owner with 300 series and two acknowledged checkpoints."""
    worker = start()
    worker.state.add(*(f"s{i}" for i in range(300)))
    for _ in range(2):
        worker.state.close_tick(rng)
        worker.checkpoint()
    return worker
