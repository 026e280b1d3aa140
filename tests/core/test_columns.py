"""Columns remember exactly what changed since each side was written, through growth, removal and reuse."""

import json

import numpy as np
import pytest

from model_core.columns import BLOCK, GAP_BYTES_MAX, Columns, Field, Piece
from model_core.errors import LayoutMismatch

FIELDS = (
    Field("ring", np.float32, rows=6, fill=np.nan, ahead=True),
    Field("open", np.float64, rows=3),
    Field("mean", np.float64, fill=1.5),
    Field("offsets", np.float32, inner=(2, 3)),
)


def filled(series: int) -> Columns:
    columns = Columns(FIELDS)
    columns.add([f"s{i}" for i in range(series)])
    return columns


def taken(pieces: list[Piece]) -> dict[tuple[str, int, int], int]:
    return {(piece.field, piece.block, piece.row): len(piece.data) for piece in pieces}


def clean(columns: Columns) -> None:
    columns.take_dirty(0)
    columns.take_dirty(1)


class Outside:
    """A plain copy of one side, as a store keeps it: what is written is there, nothing else."""

    def __init__(self) -> None:
        self.fields = {field.name: bytearray() for field in FIELDS}
        self.ids: dict[int, bytes] = {}

    def write(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if piece.field == "ids":
                self.ids[piece.block] = bytes(piece.data)
                continue
            field = next(field for field in FIELDS if field.name == piece.field)
            first = (piece.block * field.rows + piece.row) * field.row_bytes
            kept = self.fields[piece.field]
            kept.extend(bytes(max(0, first + len(piece.data) - len(kept))))
            kept[first : first + len(piece.data)] = piece.data

    def restore(self) -> Columns:
        columns = Columns(FIELDS)
        ids = [self.ids[block] for block in sorted(self.ids)]
        columns.load(ids, [Piece(name, 0, 0, bytes(data)) for name, data in self.fields.items()])
        return columns


def assert_equal(found: Columns, expected: Columns) -> None:
    assert found.ids == expected.ids
    assert found.index == expected.index
    assert found.used == expected.used
    for name in expected.fields:
        blocks = expected.blocks
        assert found.arrays[name][:blocks].tobytes() == expected.arrays[name][:blocks].tobytes(), name


def test_a_new_column_is_at_its_fill_values():
    columns = filled(3)
    assert np.isnan(columns.arrays["ring"][0, :, :3]).all()
    assert (columns.flat("mean")[:3] == 1.5).all()
    assert columns.flat("offsets").shape == (BLOCK, 2, 3)


def test_nothing_is_dirty_after_both_sides_were_taken():
    columns = filled(3)
    clean(columns)
    assert columns.take_dirty(0) == columns.take_dirty(1) == []


def test_slots_are_taken_only_when_they_were_touched_also_where_they_have_one_row():
    columns = Columns((Field("mean", np.float64), Field("results", np.float64, slots=True)))
    columns.add(["s"])
    clean(columns)
    columns.touch_hot(np.array([0]))
    assert {piece.field for piece in columns.take_dirty(0)} == {"mean"}
    columns.touch("results", np.array([0]))
    assert {piece.field for piece in columns.take_dirty(0)} == {"results"}


def test_a_change_is_taken_once_by_each_side():
    columns = filled(3)
    clean(columns)
    columns.touch("open", np.array([1]), np.array([2]))
    for side in (0, 1):
        assert taken(columns.take_dirty(side)) == {("open", 0, 2): BLOCK * 8}
        assert columns.take_dirty(side) == []


def test_one_row_fields_of_neighbouring_blocks_are_one_piece():
    columns = filled(4 * BLOCK)
    clean(columns)
    columns.touch_hot(np.arange(BLOCK, 3 * BLOCK))
    assert taken(columns.take_dirty(0)) == {("mean", 1, 0): 2 * BLOCK * 8, ("offsets", 1, 0): 2 * BLOCK * 24}


def test_small_gaps_are_written_again_and_large_ones_are_not():
    columns = Columns((Field("one", np.float64, rows=40), Field("wide", np.float64, rows=40, inner=(32,))))
    columns.add(["s"])
    clean(columns)
    for name in ("one", "wide"):
        columns.touch(name, np.array([0, 0, 0]), np.array([3, 7, 30]))
    assert BLOCK * 8 * 3 <= GAP_BYTES_MAX < BLOCK * 8 * 22
    row = BLOCK * 8
    assert taken(columns.take_dirty(0)) == {
        ("one", 0, 3): 5 * row,
        ("one", 0, 30): row,
        ("wide", 0, 3): 32 * row,
        ("wide", 0, 7): 32 * row,
        ("wide", 0, 30): 32 * row,
    }


def test_a_row_of_aligned_series_is_one_piece_a_block():
    columns = filled(2 * BLOCK)
    columns.take_changed("ring")
    columns.touch("ring", np.arange(2 * BLOCK), 4)
    pieces = columns.copy("ring", columns.take_changed("ring"))
    assert taken(pieces) == {("ring", 0, 4): BLOCK * 4, ("ring", 1, 4): BLOCK * 4}
    assert not columns.take_changed("ring").any()


def test_blocks_allocated_in_advance_are_dirty_when_they_come_into_use():
    columns = filled(3 * BLOCK)
    columns.add(["one more"])  # block 3; doubling has allocated 4 and 5 as well
    clean(columns)
    columns.add([f"late{i}" for i in range(BLOCK)])
    assert taken(columns.take_dirty(0, but={"ring"})) == {
        ("open", 4, 0): 3 * BLOCK * 8,
        ("mean", 4, 0): BLOCK * 8,
        ("offsets", 4, 0): BLOCK * 24,
        ("ids", 3, 0): columns.ids_lengths()[3],
        ("ids", 4, 0): columns.ids_lengths()[4],
    }
    assert columns.take_changed("ring")[4].all()


def test_touch_all_makes_the_next_snapshot_a_full_one():
    columns = filled(BLOCK + 1)
    clean(columns)
    columns.touch_all()
    for side in (0, 1):
        assert sum(len(piece.data) for piece in columns.take_dirty(side)) == (
            2 * sum(columns.lengths().values()) + sum(columns.ids_lengths())
        )


def test_a_removed_series_leaves_fill_values_and_its_column_is_reused_lowest_first():
    columns = filled(5)
    columns.flat("mean")[:5] = 7
    columns.remove(np.array([3, 1]))
    assert columns.flat("mean")[:5].tolist() == [7, 1.5, 7, 1.5, 7]
    assert [columns.ids[c] for c in range(5)] == ["s0", None, "s2", None, "s4"]
    assert columns.add(["x", "y", "z"]).tolist() == [1, 3, 5]


def test_a_restored_state_hands_out_the_same_columns_as_the_original():
    columns = filled(6)
    columns.remove(np.array([4, 0, 2]))
    outside = Outside()
    outside.write(columns.take_dirty(0))
    restored = outside.restore()
    assert restored.add(["a", "b"]).tolist() == columns.add(["a", "b"]).tolist()


def test_names_of_series_survive_whatever_a_producer_puts_in_them():
    columns = Columns(FIELDS)
    columns.add(["", "größe.°C", '"quoted"', "\ud800", "a\nb\x00"])
    outside = Outside()
    outside.write(columns.take_dirty(0))
    assert outside.restore().ids == columns.ids


def test_ids_lengths_are_those_of_the_pieces():
    columns = filled(BLOCK + 3)
    columns.ids_lengths()
    columns.remove(np.array([2]))
    columns.add(["ünïcode"])
    pieces = {piece.block: piece.data for piece in columns.take_dirty(0) if piece.field == "ids"}
    assert columns.ids_lengths() == [len(pieces[0]), len(pieces[1])]
    assert json.loads(pieces[0])[2] == "ünïcode"


def test_what_is_marked_written_is_not_dirty_for_that_side_alone():
    columns = filled(3)
    columns.mark_written(1)
    assert columns.take_dirty(1, but={"ring"}) == []
    assert not columns.take_changed("ring").any()
    assert {piece.field for piece in columns.take_dirty(0, but={"ring"})} == {"open", "mean", "offsets", "ids"}


def test_a_layout_changes_with_every_field():
    layouts = {Columns(fields).layout for fields in (FIELDS, FIELDS[:3], (*FIELDS[:3], Field("offsets", np.float32)))}
    assert len(layouts) == 3
    assert Columns(FIELDS).layout in layouts


@pytest.mark.parametrize(
    "piece",
    [
        Piece("gone", 0, 0, bytes(BLOCK * 8)),
        Piece("mean", 0, 0, bytes(BLOCK * 4)),
        Piece("mean", 1, 0, bytes(BLOCK * 8)),
    ],
    ids=["unknown field", "part of a row", "beyond the blocks"],
)
def test_a_piece_that_does_not_fit_is_refused(piece: Piece):
    with pytest.raises(LayoutMismatch):
        Columns(FIELDS).load([b'["s0"]'], [piece])


def test_either_side_equals_the_memory_after_each_of_its_turns(rng: np.random.Generator):
    """Random growth, changes, removals and reuse; the two sides take turns."""
    columns, sides = Columns(FIELDS), (Outside(), Outside())
    for step in range(120):
        if rng.random() < 0.4:
            columns.add([f"{step}-{i}" for i in range(int(rng.integers(1, 200)))])
        live = np.array(sorted(columns.index.values()))
        if rng.random() < 0.3 and len(live):
            columns.remove(rng.choice(live, size=max(1, len(live) // 5), replace=False))
            live = np.array(sorted(columns.index.values()))
        if len(live):
            some = rng.choice(live, size=max(1, len(live) // 3))
            for name in ("ring", "open"):
                rows = rng.integers(0, columns.fields[name].rows, len(some))
                columns.arrays[name][some >> 8, rows, some & 255] = rng.normal(size=len(some))
                columns.touch(name, some, rows)
            columns.flat("mean")[some] = rng.normal(size=len(some))
            columns.flat("offsets")[some] += 1
            columns.touch_hot(some)
        side = sides[step % 2]
        side.write(columns.take_dirty(step % 2))
        assert_equal(side.restore(), columns)
