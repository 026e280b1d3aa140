"""One broker and one store that may be broken, for all tests of this folder; each begins with both of them whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.chaos.broken_world import BrokenServers, BrokenWorld, broken_servers, broken_world


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokenServers]:
    with broken_servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture
def world(servers: BrokenServers, tmp_path: Path, rng: np.random.Generator) -> Iterator[BrokenWorld]:
    with broken_world(servers, tmp_path, rng) as made:
        yield made
