"""A state of an older layout is read as what it is, and what it lacks begins as in a new series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model_core import layouts
from model_core.columns import BLOCK, Columns, Field, beginning
from model_core.errors import LayoutMismatch
from model_core.setting import setting
from model_core.spec import StreamSpec

SPEC = StreamSpec(topic="t", freq="1min")
NOW = (
    Field("ring", np.float32, rows=7, fill=np.nan, ahead=True),
    Field("last_tick", np.int64, fill=-1),
    Field("added", np.float64, inner=(2,), fill=0.25),
    Field("mean", np.float64),
)
SERIES = [f"s{i}" for i in range(BLOCK + 3)]
NEWEST = 40  # tick


def older(fields: tuple[Field, ...], rng: np.random.Generator) -> Columns:
    """Ticks 31 … 40 of all series, as an older version left them."""
    columns = Columns(fields)
    columns.add(SERIES)
    columns.remove(np.array([1]))
    every = np.array(sorted(columns.index.values()))
    for tick in range(NEWEST - 9, NEWEST + 1):
        columns.arrays["ring"][every >> 8, tick % columns.fields["ring"].rows, every & 255] = every + tick / 100
    columns.flat("last_tick")[every] = NEWEST
    columns.flat("mean")[every] = rng.normal(size=len(every))
    return columns


def read(columns: Columns, meta: dict[str, Any], now: tuple[Field, ...] = NOW) -> tuple[Columns, dict[str, Any]]:
    columns.touch_all()
    pieces = columns.take_dirty(0)
    ids = [bytes(piece.data) for piece in pieces if piece.field == "ids"]
    found = Columns(now)
    return found, layouts.load(SPEC, found, meta, ids, [piece for piece in pieces if piece.field != "ids"])


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """These steps are the ones that this version knows."""

    def known(*steps: layouts.Step) -> None:
        monkeypatch.setattr(layouts, "STEPS", steps)
        monkeypatch.setattr(layouts, "STATE_LAYOUT", steps[-1].layout)

    return known


STEPS = (
    layouts.Step(5, layouts.with_rows("ring", lambda _: 10), lambda meta: meta | {"words": meta["words"].split()}),
    layouts.Step(6, layouts.without("added"), lambda meta: meta | {"count": len(meta["words"])}),
)


def test_columns_of_two_layouts_before_become_those_of_this_one(known, rng):
    known(*STEPS)
    before = older((replace(NOW[0], rows=10), NOW[1], NOW[3]), rng)
    found, meta = read(before, {"layout": 4, "closed": NEWEST, "words": "a b"})
    assert meta == {"layout": 4, "closed": NEWEST, "words": ["a", "b"], "count": 2}
    assert found.index == before.index
    every = np.array(sorted(found.index.values()))
    for tick in range(NEWEST - 6, NEWEST + 1):
        ring = found.arrays["ring"][every >> 8, tick % 7, every & 255]
        np.testing.assert_array_equal(ring, (every + tick / 100).astype(np.float32))
    np.testing.assert_array_equal(found.flat("mean")[every], before.flat("mean")[every])
    assert (found.flat("added")[every] == 0.25).all()
    assert found.loaded_layout == before.layout != found.layout
    assert found.add(["again"]).tolist() == [1]  # the column that was free there
    assert all((marks == 3).all() for marks in found._dirty.values())  # everything is written anew


def test_fields_that_are_one_struct_now_are_joined_and_what_they_lacked_begins(known, rng):
    struct = np.dtype([("mean", np.float64), ("count", np.int64), ("since", np.int64)])
    now = Field("both", struct, fill=beginning(struct, since=-7))
    pair = Field("pair", np.float64, inner=(2,))
    step = layouts.Step(
        5,
        layouts.in_pieces(both=(pair, Field("count", np.int64)), new=()),
        joined={"both": {"mean": ("pair", 1), "count": ("count", None), "since": ("never", None)}},
    )
    known(step)
    before = Columns((NOW[1], pair, Field("count", np.int64)))
    before.add(SERIES)
    before.flat("pair")[: len(SERIES)] = rng.normal(size=(len(SERIES), 2))
    before.flat("count")[5] = 55
    found, _ = read(before, {"layout": 4, "closed": NEWEST}, (NOW[1], now, Field("new", np.int8, fill=3)))
    used = found.used
    np.testing.assert_array_equal(found.flat("both")["mean"][:used], before.flat("pair")[:used, 1])
    assert found.flat("both")["count"][:6].tolist() == [0, 0, 0, 0, 0, 55]
    assert (found.flat("both")["since"][:used] == -7).all()
    assert (found.flat("new")[:used] == 3).all()


def test_a_state_of_this_layout_is_read_as_it_is(known, rng):
    known(*STEPS)
    before = older(NOW, rng)
    before.flat("added")[0] = 9
    found, meta = read(before, {"layout": 6, "words": 1})
    assert meta == {"layout": 6, "words": 1}
    assert found.flat("added")[0].tolist() == [9, 9]
    assert found.loaded_layout == found.layout


@pytest.mark.parametrize("layout", [3, 7, None, "6"])
def test_other_layouts_are_refused(known, rng, layout):
    known(*STEPS)
    with pytest.raises(LayoutMismatch, match="Expected a state of layout 4 to 6"):
        read(older(NOW, rng), {"layout": layout})


def test_a_state_that_lacks_what_its_layout_had_is_refused(known, rng):
    known(*STEPS)
    with pytest.raises(LayoutMismatch, match="'added'"):
        read(older(NOW, rng), {"layout": 5, "closed": NEWEST, "words": ""})


def test_a_setting_that_came_later_leaves_the_fingerprint_as_it_was_while_it_has_its_default():
    class Later(StreamSpec):
        damping: float = setting(0.5, "rebuild", "A test's.", since=6)

    assert Later(topic="t", freq="1min").fingerprint() == SPEC.fingerprint()
    assert Later(topic="t", freq="1min", damping=0.5).fingerprint() == SPEC.fingerprint()
    assert Later(topic="t", freq="1min", damping=0.4).fingerprint() != SPEC.fingerprint()


def test_a_setting_that_was_always_there_is_in_the_fingerprint_with_its_default():
    class Without(StreamSpec):
        damping: float = setting(0.5, "rebuild", "A test's.")

    assert Without(topic="t", freq="1min").fingerprint() != SPEC.fingerprint()
