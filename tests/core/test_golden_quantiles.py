"""The quantiles of committed logs stay what they were (tests/golden, written by the oracle)."""

import json
from typing import Any

import numpy as np
import pytest

from model_core.spec import StreamSpec
from tests.core.oracle import Reading
from tests.core.partition_run import Run
from tests.golden.make_quantiles import FILE, STORIES, golden

GOLDEN: dict[str, Any] = json.loads(FILE.read_text())


def by_key(forecasts: list[dict[str, Any]]) -> dict[tuple[str, int, int], dict[str, Any]]:
    return {(made["series_id"], made["origin"], made["revision"]): made for made in forecasts}


def test_every_story_has_its_golden_file() -> None:
    assert GOLDEN.keys() == STORIES.keys()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_core_issues_the_golden_quantiles(name: str) -> None:
    story = GOLDEN[name]
    log = [Reading(offset, *reading) for offset, reading in enumerate(story["log"])]
    said = Run(StreamSpec(**story["settings"])).log(log, [0, 31, 60]).said
    made = by_key([row | {"series_id": series} for series, rows in said.forecasts.items() for row in rows])
    assert len(story["forecasts"]) == 12
    for key, wanted in by_key(story["forecasts"]).items():
        assert made[key]["rung"] == wanted["rung"], key
        np.testing.assert_allclose(made[key]["quantiles"], wanted["quantiles"], rtol=1e-5, err_msg=str(key))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_oracle_has_not_moved_either(name: str) -> None:
    story = GOLDEN[name]
    assert golden(story["settings"], story["log"]) == story["forecasts"]
