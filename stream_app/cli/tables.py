"""Tables for a terminal of any width: where columns would have to break words, each row becomes a list of its cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.measure import Measurement
from rich.styled import Styled
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

ANY_WIDTH = 10_000


def show_table(console: Console, table: Table) -> None:
    least, most, spare = _widths(console, table)
    if spare < 0:
        console.print(as_lists(table))
        return
    # By itself rich would take room from the widest column, words or not.
    for place in sorted(range(len(least)), key=lambda place: most[place] - least[place]):
        more = min(most[place] - least[place], spare)
        table.columns[place].width = least[place] + more
        spare -= more
    console.print(table)


def show_widest(console: Console, tables: Iterable[Table]) -> None:
    """The first of them that there is room for. Where there is none, the first as lists: they have room for all."""
    first, *others = tables
    show_table(console, next((each for each in (first, *others) if _widths(console, each)[2] >= 0), first))


def _widths(console: Console, table: Table) -> tuple[list[int], list[int], int]:
    """Of each column what its longest word takes, and its longest cell; what is left if each gets the former."""
    options = console.options.update(max_width=ANY_WIDTH)
    asked = [
        [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)] for column in table.columns
    ]
    floors = [column.min_width or 0 for column in table.columns]
    least = [max(floor, *(each.minimum for each in of)) for floor, of in zip(floors, asked, strict=True)]
    most = [max(floor, *(each.maximum for each in of)) for floor, of in zip(floors, asked, strict=True)]
    between = Measurement.get(console, options, table).maximum - sum(most)
    return least, most, console.width - between - sum(least)


def as_lists(table: Table) -> Group:
    """Below the first cell of a row the others, each beside the head of its column; empty ones are left out."""
    heads = [str(column.header) for column in table.columns]
    parts: list[RenderableType] = [Styled(table.title, "italic")] if table.title else []
    columns = (list(column.cells) for column in table.columns)
    for row, (first, *others) in zip(table.rows, zip(*columns, strict=True), strict=True):
        parts.append(Styled(first, f"bold {row.style or ''}"))
        cells = Table.grid(padding=(0, 2, 0, 0))
        cells.add_column(width=2 + max(map(len, heads[1:]), default=0))
        cells.add_column(overflow="fold")
        for head, cell in zip(heads[1:], others, strict=True):
            if str(cell):
                cells.add_row(f"  {head}", cell, style=row.style)
        parts.append(cells)
    return Group(*parts)
