"""The progress bar of commands that take a while. Only a terminal shows it: a log gets the result alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Tell = Callable[[str, float], None]  # (what is being done, share of the whole that is done)


def progress_bar() -> Progress:
    """Empty: whoever knows how much there is to do adds a task."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("→ {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


@contextmanager
def progress_of_one(first: str) -> Iterator[Tell]:
    """A bar of one task, which begins with the step `first`."""
    with progress_bar() as bar:
        task = bar.add_task(first, total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
