"""A table of a command keeps every word whole, in a terminal of any width that has room for the longest one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_app.cli.tables import show_table

HEADS = ("version", "is", "scaled pinball", "detail")


def printed(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show_table(console, table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def filled(rows: list[list[str]]) -> Table:
    table = Table(*HEADS, title="models", title_justify="left")
    for row in rows:
        table.add_row(*row[:3], Text(row[3]))
    return table


@pytest.mark.parametrize("width", [40, 47, 60, 80, 120])
def test_no_word_is_cut_at_any_width(rng: np.random.Generator, width: int) -> None:
    letters = np.array(list("abcdefghij0123456789"))

    def word() -> str:
        return "".join(rng.choice(letters, rng.integers(1, 20)))

    rows = [[word(), word(), word(), " ".join(word() for _ in range(rng.integers(0, 6)))] for _ in range(8)]
    said = printed(filled(rows), width)
    assert max(map(len, said.splitlines())) <= width
    words = said.replace("│", " ").split()
    assert {each for row in rows for cell in row for each in cell.split()} <= set(words)
    assert {each for head in HEADS[1:3] for each in head.split()} <= set(words)


def test_a_list_leaves_out_what_is_empty_and_shows_markup_as_style() -> None:
    table = filled([["a-version-of-a-model-1", "", "[bold]0.5[/]", "a-detail-of-it-at-length"]])
    assert [line.rstrip() for line in printed(table, 48).splitlines()] == [
        "models",
        "a-version-of-a-model-1",
        "  scaled pinball  0.5",
        "  detail          a-detail-of-it-at-length",
    ]
    assert "version" in printed(table, 80)
