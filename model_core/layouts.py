"""Layouts of the state: what a snapshot of an older version means, and how it is turned into one of this version.

A rolling upgrade finds the states of the version before. They are read as what they are, columns by columns, and moved
over; whatever that version did not have begins as in a new series. Newer layouts, and those older than the first step,
are refused: the state is then rebuilt from the log.

To raise the layout: add 1 to STATE_LAYOUT and a Step that describes the layout before, and mark settings that came with
it by `since` (setting.py), so that their defaults leave the fingerprint unchanged. tests/golden keeps snapshots
that the version before has written (make_checkpoint.py); the tests read them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from model_core.arrays import AnyArray
from model_core.columns import BLOCK, Columns, Coming, Field, Piece
from model_core.drift.cusum import NO_ALARM
from model_core.errors import LayoutMismatch
from model_core.spec import StreamSpec

STATE_LAYOUT = 4  # raised with every change of what a snapshot means

Fields = tuple[Field, ...]
Meta = dict[str, Any]
Members = Mapping[str, tuple[str, int | None]]  # None: all of it


@dataclass(frozen=True)
class Step:
    """How the layout before became `layout`.

    `before` makes the fields of the layout before out of those of this one (see `without`, `with_rows`, `in_pieces`),
    in their order then. `meta` makes the scalars of this layout out of those before. `joined`: members of fields that
    are structs now, by the name of the field; each member is the field it was, and where in its last axis.
    """

    layout: int
    before: Callable[[StreamSpec, Fields], Fields]
    meta: Callable[[Meta], Meta] = dict
    joined: Mapping[str, Members] = field(default_factory=dict)


def without(*names: str) -> Callable[[StreamSpec, Fields], Fields]:
    """The layout before did not have these fields."""
    return lambda _, fields: tuple(field for field in fields if field.name not in names)


def with_rows(name: str, rows: Callable[[StreamSpec], int]) -> Callable[[StreamSpec, Fields], Fields]:
    """In the layout before this field, addressed by tick, had other rows."""

    def before(spec: StreamSpec, fields: Fields) -> Fields:
        return tuple(replace(field, rows=rows(spec)) if field.name == name else field for field in fields)

    return before


def in_pieces(**fields: Fields) -> Callable[[StreamSpec, Fields], Fields]:
    """In the layout before these fields were several, or nothing."""
    return lambda _, now: tuple(piece for field in now for piece in fields.get(field.name, (field,)))


def _rows_for_two_seasons(spec: StreamSpec) -> int:
    return spec.ring_capacity - spec.needed_ticks + max(spec.context_length, 2 * spec.longest_season)


_ALARMS = ("alarm_tick", "alarm_fate", "alarm_said", "alarm_facts")


def _with_drift(meta: Meta) -> Meta:
    """Storms and coverage begin; when drift was last reported is part of them now."""
    reported = meta["reported"]
    kept = {name: value for name, value in meta.items() if name != "reported"}
    return kept | {"drift": {"reported": reported, "closed": meta["closed"]}}


STEPS = (  # the newest one last
    Step(2, before=with_rows("ring", _rows_for_two_seasons)),
    Step(3, before=without("cusum_horizon", "ratios", "run_state", *_ALARMS), meta=_with_drift),
    Step(
        4,
        before=in_pieces(
            season_state=(Field("season_change", np.float64, inner=(2,), slots=True),),
            drift=(
                Field("cusum", np.float64, inner=(2,)),
                Field("cusum_horizon", np.float64, inner=(2,)),
                Field("cusum_rest", np.int64, fill=NO_ALARM),
                Field("cusum_alarms", np.int64),
                Field("ratios", np.float64, inner=(4,)),
            ),
            alarm=(
                Field("alarm_tick", np.int64, inner=(2,)),
                Field("alarm_fate", np.int8, inner=(2,)),
                Field("alarm_said", np.int8, inner=(2,)),
                Field("alarm_facts", np.float64, inner=(2, 2)),
            ),
            level=(),
        ),
        joined={
            "season_state": {"change": ("season_change", 0), "updates": ("season_change", 1)},
            "drift": {
                "cusum": ("cusum", None),
                "ahead": ("cusum_horizon", None),
                "rest": ("cusum_rest", None),
                "alarms": ("cusum_alarms", None),
                "ratios": ("ratios", None),
            },
            "alarm": {name: (f"alarm_{name}", None) for name in ("tick", "fate", "said", "facts")},
        },
    ),
)


def load(
    spec: StreamSpec, columns: Columns, meta: Meta, ids_pieces: list[bytes], pieces: Iterable[Piece | Coming]
) -> Meta:
    """Fill empty columns with a snapshot of this or an older layout; returns its scalars as those of this layout.

    Raises LayoutMismatch for a layout that is not known.
    """
    found = meta.get("layout")
    oldest = STATE_LAYOUT - len(STEPS)
    if not isinstance(found, int) or not oldest <= found <= STATE_LAYOUT:
        raise LayoutMismatch(
            f"Expected a state of layout {oldest} to {STATE_LAYOUT}, found layout {found}: run the version that wrote "
            "it, or rebuild the state from the log."
        )
    if found == STATE_LAYOUT:
        columns.load(ids_pieces, pieces)
        return meta
    steps = [step for step in STEPS if step.layout > found]
    fields = tuple(columns.fields.values())
    for step in reversed(steps):
        fields = step.before(spec, fields)
    older = Columns(fields)
    older.load(ids_pieces, pieces)
    newest = max(int(older.flat("last_tick")[: older.used].max(initial=meta["closed"])), meta["closed"])
    joined = {name: members for step in steps for name, members in step.joined.items()}
    columns.take_over(older, _moved(older, columns, newest, joined))
    for step in steps:
        meta = step.meta(meta)
    return meta


def _moved(older: Columns, columns: Columns, newest: int, joined: Mapping[str, Members]) -> dict[str, AnyArray]:
    """The arrays of the older columns that go on, in the shape that they have now; none for new fields."""
    moved = {
        name: _as_struct(older.arrays, columns.fields[name], members)
        for name, members in joined.items()
        if any(piece in older.arrays for piece, _ in members.values())
    }
    for name, now in columns.fields.items():
        before = older.fields.get(name)
        if before is None:
            continue
        assert (now.dtype, now.inner) == (before.dtype, before.inner), f"{name}: no step says how it is converted"
        array = older.arrays.pop(name)  # so that never more than one field is there twice
        moved[name] = array if now.rows == before.rows else _by_tick(array, now, before, newest)
    return moved


def _as_struct(arrays: dict[str, AnyArray], field: Field, members: Members) -> AnyArray:
    """[blocks, 1, 256, …] of structs; members that the older layout did not have begin as in a new series."""
    blocks = max(len(arrays[piece]) for piece, _ in members.values() if piece in arrays)
    there = np.full((blocks, field.rows, BLOCK, *field.inner), field.fill, field.dtype)
    for member, (piece, place) in members.items():
        if piece in arrays:
            there[member] = arrays[piece] if place is None else arrays[piece][..., place]
    return there


def _by_tick(array: AnyArray, field: Field, before: Field, newest: int) -> AnyArray:
    """Rows addressed by tick, as many of the newest ticks as both have."""
    assert field.ahead, f"{field.name}: only rows that are addressed by tick can be moved"
    blocks, _, *rest = array.shape
    there = np.full((blocks, field.rows, *rest), field.fill, field.dtype)
    ticks = newest - np.arange(min(field.rows, before.rows), dtype=np.int64)
    there[:, ticks % field.rows] = array[:, ticks % before.rows]
    return there


assert [step.layout for step in STEPS] == list(range(STATE_LAYOUT - len(STEPS) + 1, STATE_LAYOUT + 1))
