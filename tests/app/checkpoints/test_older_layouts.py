"""What workers of older versions really left in Redis (tests/golden), read by this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_core.layouts import STATE_LAYOUT, STEPS
from model_core.partition import PartitionState
from stream_app.checkpoints import CheckpointStore, Restored
from stream_app.checkpoints.header import Header
from stream_app.settings import Settings
from tests.app.running_worker import CONFIGURATION
from tests.app.saved_states import same_state
from tests.golden.make_checkpoint import FOLDER, SERIES, load, unpacked

GOLDEN = {path.stem: path for path in sorted(FOLDER.glob("checkpoint_layout_*.json"))}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those under which the golden states were written."""
    own: dict[str, Any] = dict.fromkeys(("instance", "stream", "limits"), "")
    own |= {"bootstrap": "b:1", "redis_url": "redis://r", "registry": tmp_path, "checkpoint_interval": "1s"}
    path = tmp_path / "tidecast.toml"
    path.write_text(
        CONFIGURATION.format(
            application_id="golden.in.a", delivery="exactly_once", topic="golden.in", prefix="golden.in.a", **own
        )
    )
    return Settings.load(path, {})


def header_of(golden: Path) -> Header:
    return Header.decode(unpacked(json.loads(golden.read_text())["keys"]["header"]["body"]))


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN.keys())
def test_a_new_setting_leaves_the_fingerprint_of_older_states_as_it_was(golden: Path, settings: Settings) -> None:
    assert header_of(golden).fingerprint == settings.streams["tides"].fingerprint(), "mark new settings by `since`"


def test_there_is_a_state_of_the_layout_before_to_read() -> None:
    assert STEPS[-1].layout == STATE_LAYOUT
    assert f"checkpoint_layout_{STATE_LAYOUT - 1}" in GOLDEN


class Reading:
    """A worker's store over Redis as an older worker left it."""

    def __init__(self, client: Any, golden: Path, settings: Settings) -> None:
        client.flushall()
        load(client, f"{{{settings.application_id}:tides:0}}", json.loads(golden.read_text())["keys"])
        self.store = CheckpointStore(client, settings.application_id)
        self.spec = settings.streams["tides"]
        self.token = self.store.acquire("tides", 0, self.spec, header_of(golden).identity)

    def read(self) -> PartitionState:
        restored: Restored[PartitionState] | None = self.store.read(
            self.token, lambda meta, ids, pieces: PartitionState.restore(self.spec, 0, meta, ids, pieces)
        )
        assert restored is not None
        return restored.state


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN.keys())
def test_an_older_state_is_read_written_whole_and_read_again(golden: Path, settings: Settings, redis_client) -> None:
    reading = Reading(redis_client, golden, settings)
    state = reading.read()
    assert len(state.columns) == SERIES
    is_older = json.loads(golden.read_text())["layout"] < STATE_LAYOUT
    copy = reading.store.copy(reading.token, state)
    assert copy.full == is_older  # no delta lands on columns that mean something else
    reading.store.write(reading.token, copy)
    again = Reading.read(reading)
    assert again.columns.loaded_layout == again.columns.layout
    same_state(again, state)


def test_states_of_one_log_are_the_same_whatever_layout_they_were_written_in(settings: Settings, redis_client) -> None:
    states = [Reading(redis_client, golden, settings).read() for golden in GOLDEN.values()]
    newest = states[-1]
    for each, golden in zip(states, GOLDEN.values(), strict=True):
        assert each.live_rows() == newest.live_rows()
        first, last = each.live_rows()
        assert last > first + newest.spec.needed_ticks
        for name in header_of(golden).fields.keys() & newest.columns.fields.keys():
            field = newest.columns.fields[name]
            rows = np.arange(first, last + 1) % field.rows if field.ahead else np.arange(field.rows)
            left, right = (state.columns.arrays[name][0][rows, :SERIES] for state in (each, newest))
            np.testing.assert_array_equal(left, right, err_msg=f"{golden.stem}: {name}")
