"""`tidecast dead-letters list | show | requeue | accept`."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_app.cli.options import DEFAULT_FILE, Config, writable
from stream_app.cli.tables import show_table
from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from model_core.spec import StreamSpec
    from stream_app.dead_letters.log import Chosen, DeadLetterLog, Kept
    from stream_app.dead_letters.requeueing import Plan
    from stream_app.kafka.topic_scan import Progress
    from stream_app.settings import Settings

LISTED = 20
SHOWN_BYTES = 4_096
COUNTED_MAX = 10_000  # lines of counts

app = typer.Typer(no_args_is_help=True)
Stream = Annotated[str | None, typer.Option(help="Which stream of the configuration.")]
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason; may be given more than once.")]
Partitions = Annotated[
    list[int] | None, typer.Option("--partition", help="Only from this partition of the input; more than once.")
]
Key = Annotated[str | None, typer.Option(help="Only messages with this key.")]
Since = Annotated[str | None, typer.Option(help="Only messages of this time and later (2026-03-01T10:00:00Z).")]
Until = Annotated[str | None, typer.Option(help="Only messages before this time.")]


@app.callback()
def dead_letters() -> None:
    """Input that could not be used."""


@app.command(name="list")
def list_(
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    reason: Reasons = None,
    partition: Partitions = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=0, help="How many of the newest to list.")] = LISTED,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for machines.")] = False,
) -> None:
    """How many there are, by reason and partition of the input, and the newest of them."""
    chosen = _chosen(reason, partition, [], key, since, until)
    counts: Counter[tuple[str, int]] = Counter()
    back: Counter[tuple[str, int]] = Counter()
    newest: deque[tuple[Kept, bool]] = deque(maxlen=limit)
    with _opened(config, stream) as opened, _progress("dead letters") as progress:
        log, topic = opened.log, opened.topic
        requeued = log.requeued()
        for kept in log.letters(chosen, log.ends(), progress):
            at = (kept.reason, kept.source.partition)
            at = at if at in counts or len(counts) < COUNTED_MAX else ("…", -1)
            counts[at] += 1
            back[at] += kept.place in requeued
            newest.append((kept, kept.place in requeued))
    if as_json:
        body = {
            "topic": topic,
            "counts": [
                {"reason": why, "partition": where, "dead_letters": count, "requeued": back[why, where]}
                for (why, where), count in sorted(counts.items())
            ],
            "newest": [_as_json(kept) | {"requeued": is_back} for kept, is_back in newest],
        }
        typer.echo(json.dumps(body, indent=2, ensure_ascii=False))
        return
    _print_list(topic, counts, back, newest)


@app.command()
def show(
    place: Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `list` shows it.")],
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    bytes_max: Annotated[int, typer.Option("--bytes", min=1, help="How much of the value to print.")] = SHOWN_BYTES,
    save: Annotated[
        Path | None, typer.Option(callback=writable, help="Write the value, byte by byte, into this file.")
    ] = None,
) -> None:
    """One dead letter: why, where it was, its key, headers and value. Nothing in it reaches the terminal raw."""
    from stream_app.dead_letters.log import Place
    from stream_app.dead_letters.printable import printable
    from stream_app.wire.timestamps import rfc3339

    with _opened(config, stream) as opened:
        kept = opened.log.letter(Place.parse(place))
        if kept is None:
            raise TidecastError(f"There is no dead letter at {place} of {opened.topic} (any more).")
        is_back = kept.place in opened.log.requeued()
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
    if save is not None:
        save.write_bytes(kept.value or b"")


@app.command()
def requeue(
    places: Annotated[list[str] | None, typer.Argument(help="PARTITION:OFFSET of those to requeue.")] = None,
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    reason: Reasons = None,
    partition: Partitions = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    all_: Annotated[bool, typer.Option("--all", help="All dead letters of the stream.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that went back before.")] = False,
    whole_packs: Annotated[
        bool, typer.Option("--whole-packs", help="Also messages of which some readings were used: these count twice.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go back.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Send messages back to their input topic as they were: same key, value, timestamp, headers and partition.

    None goes back twice, however often this is run or cut off. Mend what made them fail first.
    """
    from stream_app.dead_letters.log import Chosen, Place
    from stream_app.dead_letters.requeueing import Requeue, Rules, skipped_sentences
    from stream_app.kafka.producing import topic_partitions

    chosen = _chosen(reason, partition, [Place.parse(place) for place in places or ()], key, since, until)
    if all_ is (chosen != Chosen()):
        raise TidecastError("Say which: PARTITION:OFFSET …, --reason, --partition, --key, --since, --until, or --all.")
    console = Console(highlight=False, soft_wrap=True)
    with _opened(config, stream) as opened:
        settings, spec = opened.settings, opened.spec
        count = topic_partitions(spec.topic, settings.kafka.properties("admin")) or 0
        if not count:
            raise TidecastError(f"There is no topic {spec.topic} to send to; `tidecast topics create` makes it.")
        rules = Rules(spec.topic, again=again, whole_packs=whole_packs)
        work = Requeue(settings, spec, opened.log, chosen, rules, count)
        with _progress("looking") as progress:
            plan = work.plan(progress)
        _print_plan(console, plan, spec.topic)
        for sentence in skipped_sentences(plan.skipped):
            console.print(sentence)
        if dry_run or not plan.total:
            return
        if not yes:
            typer.confirm(f"Send {plan.total:,} messages to {spec.topic}?", abort=True)
        with _progress("requeueing") as progress:
            sent = work.run(progress)
    console.print(f"{sent:,} messages are back in {spec.topic}.")


@app.command()
def accept(
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    partition: Annotated[list[int] | None, typer.Option(help="Only this one; may be given more than once.")] = None,
) -> None:
    """Read on in partitions that are held because too much of their input could not be used.

    Mend the producer first: counting begins anew, and the next flood holds the partition again.
    """
    from stream_app.dead_letters.accepting import accept_held
    from stream_app.kafka.admin import Admin
    from stream_app.runtime.startup import identities
    from stream_app.settings import Settings

    settings = Settings.load(config)
    name, _ = settings.stream(stream)
    count = identities(settings, Admin(settings))[name].partition_count
    console = Console(highlight=False, soft_wrap=True)
    found = accept_held(settings, name, partition or range(count))
    for at, taken_up in found.items():
        console.print(f"{at} reads on." if taken_up else f"{at} is accepted; its worker has not taken it up yet.")
    if not found:
        console.print(f"No partition of {name} is held.")


class _Opened(NamedTuple):
    settings: Settings
    spec: StreamSpec
    log: DeadLetterLog
    topic: str  # of the dead letters


@contextmanager
def _opened(config: Path, stream: str | None) -> Iterator[_Opened]:
    from stream_app.dead_letters.log import DeadLetterLog
    from stream_app.kafka.topic_scan import TopicScan
    from stream_app.settings import Settings

    settings = Settings.load(config)
    name, spec = settings.stream(stream)
    with TopicScan(settings, spec.outputs.topic("dead_letters", name)) as scan:
        yield _Opened(settings, spec, DeadLetterLog(scan), scan.topic)


def _chosen(
    reasons: list[str] | None,
    partitions: list[int] | None,
    places: list[Any],
    key: str | None,
    since: str | None,
    until: str | None,
) -> Chosen:
    from stream_app.cli.train import time_ms
    from stream_app.dead_letters.log import Chosen
    from stream_app.wire.decoded import REASONS

    unknown = set(reasons or ()) - set(REASONS)
    if unknown:
        raise TidecastError(f"--reason: expected one of {', '.join(REASONS)}, found {', '.join(sorted(unknown))}.")
    return Chosen(
        reasons=frozenset(reasons or ()),
        partitions=frozenset(partitions or ()),
        places=frozenset(places),
        key=None if key is None else key.encode(),
        since_ms=None if since is None else time_ms(since, "--since"),
        until_ms=None if until is None else time_ms(until, "--until"),
    )


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    from stream_app.cli.train import progress_bar

    with progress_bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_list(
    topic: str,
    counts: Counter[tuple[str, int]],
    back: Counter[tuple[str, int]],
    newest: deque[tuple[Kept, bool]],
) -> None:
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


def _print_plan(console: Console, plan: Plan, topic: str) -> None:
    if not plan.total:
        console.print("Nothing goes back.")
    for why, count in sorted(plan.going.items()):
        console.print(f"{count:,} {why} → {topic}")
    if plan.going["too_late"]:
        console.print("Readings that were too late are too late again, unless allowed_lateness has grown.")


def _as_json(kept: Kept) -> dict[str, Any]:
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
