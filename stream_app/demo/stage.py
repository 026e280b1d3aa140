"""What a person sees while the demo runs: its steps and, in a terminal, the live view below them.

Where there is no live view, each step is one line on stderr, so that stdout has only the result.
"""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from model_core.durations import format_duration
from stream_app.demo.plan import Plan
from stream_app.watch import WatchModel
from stream_app.watch.view import Frame, render

FRAME_INTERVAL_S = 0.25
HEAD_ROWS = 4


@dataclass
class Step:
    title: str
    began: float  # time.monotonic()
    seconds: float | None = None
    detail: str = ""
    done: int = 0
    total: int = 0


class Stage:
    """`begin` a step, `advance` it, `end` it; `refresh` draws a frame when one is due."""

    def __init__(self, plan: Plan, console: Console, *, live: bool) -> None:
        self._plan = plan
        self._console = console
        self._steps: list[Step] = []
        self._live = Live(console=console, screen=True, auto_refresh=False) if live else None
        self._next_frame = 0.0
        self.watched: WatchModel | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back; what is printed now stays."""
        if self._live:
            self._live.stop()

    def begin(self, title: str, total: int = 0) -> None:
        self._steps.append(Step(title, time.monotonic(), total=total))
        self.refresh(now=True)

    def advance(self, done: int, total: int | None = None) -> None:
        step = self._steps[-1]
        step.done, step.total = done, step.total if total is None else total
        self.refresh()

    def end(self, detail: str = "") -> None:
        step = self._steps[-1]
        step.seconds, step.detail = time.monotonic() - step.began, detail
        if not self._live:
            text = f"· {step.title}: {detail}" if detail else f"· {step.title}"
            self._console.print(f"{text} ({step.seconds:.1f} s)", highlight=False, markup=False)
        self.refresh(now=True)

    def refresh(self, *, now: bool = False) -> None:
        if self._live and (now or time.monotonic() >= self._next_frame):
            self._live.update(self._frame(), refresh=True)
            self._next_frame = time.monotonic() + FRAME_INTERVAL_S

    def _frame(self) -> RenderableType:
        width, height = self._console.size
        table = self._plan.table
        head = Text.assemble(
            ("tidecast demo  ", "bold"),
            (self._plan.name, "bold cyan"),
            f"  {len(table.series_ids):,} series · {len(table):,} readings, one every {self._freq()}",
        )
        head.truncate(width, overflow="ellipsis")
        parts: list[RenderableType] = [head, self._step_line(width), self._bar(width), Text()]
        if self.watched is not None and self.watched.series_seen:
            lines = self.watched.lines()
            newest = max((line.forecast.origin for line in lines if line.forecast), default=None)
            status = f"{self.watched.forecasts_seen:,} forecasts"
            status += f" · at {newest:%Y-%m-%d %H:%M}" if newest else ""
            parts.append(render(lines, Frame("forecasts", status), width=width, height=height - HEAD_ROWS))
        return Group(*parts)

    def _freq(self) -> str:
        return format_duration(self._plan.spec.freq)

    def _step_line(self, width: int) -> Text:
        line = Text()
        for step in self._steps:
            mark, style = ("✓", "green") if step.seconds is not None else ("●", "bold cyan")
            seconds = step.seconds if step.seconds is not None else time.monotonic() - step.began
            line.append(f"{mark} {step.title} ", style=style)
            line.append(f"{seconds:.0f}s  ", style="dim")
        if len(line) > width:  # the newest steps matter
            line = Text("…") + line[len(line) - width + 1 :]
        return line

    def _bar(self, width: int) -> RenderableType:
        step = self._steps[-1] if self._steps else None
        if step is None or step.seconds is not None or not step.total:
            return Text()
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(total=step.total, completed=step.done, width=max(10, width - 32)),
            Text(f"{step.done:,} of {step.total:,}", style="dim"),
        )
        return row
