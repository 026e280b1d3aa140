"""What all fault runs share: a world of a few partitions, and a place for what they measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.app.running_worker import World
from tests.chaos import report
from tests.chaos.disturbed import Disturbed


@pytest.fixture
def partitions() -> int:
    return 3


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield world
    Disturbed.end_all()


@pytest.fixture
def soak_times(request: pytest.FixtureRequest) -> int:
    """How often the soaks do to each step what they do."""
    return int(request.config.option.soak_times)


@pytest.fixture
def prove(request: pytest.FixtureRequest) -> Callable[[str, list[dict[str, Any]]], None]:
    """prove(name, runs): prints the numbers, and with --write-proofs keeps them in docs/proofs/."""

    def keep(name: str, runs: list[dict[str, Any]]) -> None:
        numbers = report.combine(runs)
        print(f"\n{name}: {numbers}")
        if request.config.getoption("--write-proofs"):
            report.write(name, numbers)

    return keep
