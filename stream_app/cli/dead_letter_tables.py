"""What `tidecast dead-letters` prints: counts, one letter, a plan. Control characters are escaped."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_app.cli.tables import show_table

if TYPE_CHECKING:
    from stream_app.dead_letters.log import Kept
    from stream_app.dead_letters.requeueing import Plan

SHOWN_BYTES = 4_096


def print_letter(kept: Kept, bytes_max: int, *, is_back: bool) -> None:
    """One dead letter, with `bytes_max` of its value; `is_back`: it was requeued."""
    from stream_app.dead_letters.printable import printable
    from stream_app.wire.timestamps import rfc3339

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    lines: list[tuple[str, str]] = [
        ("reason", kept.reason),
        ("detail", printable(kept.detail.encode("utf-8", "replace"), SHOWN_BYTES)),
        ("message", f"{kept.source_topic}[{kept.source.partition}]@{kept.source.offset}"),
        ("time", rfc3339(kept.timestamp_ms)),
        ("requeued", "yes" if is_back else "no, but it had been: it failed again" if kept.went_back else "no"),
    ]
    if kept.readings:
        lines.append(("readings", printable(kept.readings.encode("utf-8", "replace"), SHOWN_BYTES)))
    if kept.is_cut:
        lines.append(("kept", "not all of it: what was too long was cut"))
    lines.append(("key", "none" if kept.key is None else printable(kept.key, SHOWN_BYTES)))
    lines += [
        (f"header {printable(header.encode('utf-8', 'replace'), 200)}", printable(text or b"", 1_000))
        for header, text in kept.headers
    ]
    size = "null" if kept.value is None else f"{len(kept.value):,} bytes"
    lines.append(("value", size if not kept.value else f"{size}\n{printable(kept.value, bytes_max)}"))
    for what, text in lines:
        table.add_row(Text(what), Text(text))
    Console().print(table)


def print_list(
    topic: str,
    counts: Counter[tuple[str, int]],
    back: Counter[tuple[str, int]],
    newest: deque[tuple[Kept, bool]],
) -> None:
    """Counts by (reason, partition), how many of them were requeued (`back`), and the newest letters, likewise."""
    from stream_app.dead_letters.printable import printable
    from stream_app.wire.timestamps import rfc3339

    console = Console(highlight=False)
    if not counts:
        console.print(f"No dead letters in {topic}.", markup=False, soft_wrap=True)
        return
    table = Table("reason", "input partition", "dead letters", "requeued", title=topic, title_justify="left")
    for (why, where), count in sorted(counts.items()):
        table.add_row(Text(why), str(where), f"{count:,}", f"{back[why, where]:,}")
    show_table(console, table)
    if not newest:
        return
    table = Table("place", "reason", "message", "time", "key", "detail", title="newest", title_justify="left")
    for kept, is_back in newest:
        detail = printable(kept.detail.encode("utf-8", "replace"), 300)
        table.add_row(
            str(kept.place),
            Text(kept.reason + (" ↩" if is_back else "")),
            Text(f"[{kept.source.partition}]@{kept.source.offset}"),
            rfc3339(kept.timestamp_ms),
            Text("" if kept.key is None else printable(kept.key, 60)),
            Text(detail),
        )
    show_table(console, table)
    if any(is_back for _, is_back in newest):
        console.print("↩ requeued")


def print_plan(console: Console, plan: Plan, topic: str) -> None:
    """What requeueing would send back to its input topic."""
    if not plan.total:
        console.print("Nothing goes back.")
    for why, count in sorted(plan.going.items()):
        console.print(f"{count:,} {why} → {topic}")
    if plan.going["too_late"]:
        console.print("Readings that were too late are too late again, unless allowed_lateness has grown.")


def as_json_of(kept: Kept) -> dict[str, Any]:
    """A letter without its value and headers."""
    from stream_app.dead_letters.printable import printable
    from stream_app.wire.timestamps import rfc3339

    return {
        "place": str(kept.place),
        "reason": kept.reason,
        "detail": kept.detail,
        "topic": kept.source_topic,
        "partition": kept.source.partition,
        "offset": kept.source.offset,
        "time": rfc3339(kept.timestamp_ms),
        "key": None if kept.key is None else printable(kept.key, SHOWN_BYTES),
        "bytes": None if kept.value is None else len(kept.value),
        "failed_again": kept.went_back,
    }
