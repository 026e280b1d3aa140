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

from stream_app.cli.dead_letter_tables import SHOWN_BYTES, as_json_of, print_letter, print_list, print_plan
from stream_app.cli.options import DEFAULT_FILE, AsJson, Config, Stream, time_ms, writable
from stream_app.cli.progress import progress_bar
from stream_app.errors import TidecastError

if TYPE_CHECKING:
    from model_core.spec import StreamSpec
    from stream_app.dead_letters.log import Chosen, DeadLetterLog, Kept
    from stream_app.kafka.topic_scan import Progress
    from stream_app.settings import Settings

LISTED = 20
COUNTED_MAX = 10_000  # lines of counts

app = typer.Typer(no_args_is_help=True)
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason; may be repeated.")]
Partitions = Annotated[
    list[int] | None, typer.Option("--partition", help="Only from this partition of the input; may be repeated.")
]
Key = Annotated[str | None, typer.Option(help="Only messages with this key.")]
Since = Annotated[str | None, typer.Option(help="Only messages from this time on, e.g. 2026-03-01T10:00:00Z.")]
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
    as_json: AsJson = False,
) -> None:
    """Count the dead letters by reason and input partition, and list the newest."""
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
            "newest": [as_json_of(kept) | {"requeued": is_back} for kept, is_back in newest],
        }
        typer.echo(json.dumps(body, indent=2, ensure_ascii=False))
        return
    print_list(topic, counts, back, newest)


@app.command()
def show(
    place: Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `list` shows it.")],
    config: Config = DEFAULT_FILE,
    stream: Stream = None,
    bytes_max: Annotated[int, typer.Option("--bytes", min=1, help="How much of the value to print.")] = SHOWN_BYTES,
    save: Annotated[
        Path | None, typer.Option(callback=writable, help="Write the value, unchanged, to this file.")
    ] = None,
) -> None:
    """Show one dead letter: reason, place, key, headers and value, with control characters escaped."""
    from stream_app.dead_letters.log import Place

    with _opened(config, stream) as opened:
        kept = opened.log.letter(Place.parse(place))
        if kept is None:
            raise TidecastError(f"There is no dead letter at {place} of {opened.topic} (any more).")
        is_back = kept.place in opened.log.requeued()
    print_letter(kept, bytes_max, is_back=is_back)
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
    again: Annotated[bool, typer.Option("--again", help="Also those that were requeued before.")] = False,
    whole_packs: Annotated[
        bool,
        typer.Option("--whole-packs", help="Also messages of which some readings were used; those then count twice."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be requeued.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Send dead letters back to their input topic unchanged: same key, value, timestamp, headers and partition.

    None is sent twice, however often this is run or interrupted. First mend what made them fail.
    """
    from stream_app.dead_letters.log import Chosen, Place
    from stream_app.dead_letters.requeueing import Requeue, Rules, skipped_sentences
    from stream_app.kafka.topics import TopicAdmin

    chosen = _chosen(reason, partition, [Place.parse(place) for place in places or ()], key, since, until)
    if all_ is (chosen != Chosen()):
        raise TidecastError("Say which: PARTITION:OFFSET …, --reason, --partition, --key, --since, --until, or --all.")
    console = Console(highlight=False, soft_wrap=True)
    with _opened(config, stream) as opened:
        settings, spec = opened.settings, opened.spec
        count, _ = TopicAdmin(settings).partitions().get(spec.topic, (0, 0))
        if not count:
            raise TidecastError(f"There is no topic {spec.topic} to send to; `tidecast topics create` makes it.")
        rules = Rules(spec.topic, again=again, whole_packs=whole_packs)
        work = Requeue(settings, spec, opened.log, chosen, rules, count)
        with _progress("looking") as progress:
            plan = work.plan(progress)
        print_plan(console, plan, spec.topic)
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
    partition: Annotated[list[int] | None, typer.Option(help="Only this partition; may be repeated.")] = None,
) -> None:
    """Go on reading partitions that are held because too much of their input could not be used.

    First mend the producer: counting starts again, and more unusable input holds the partition again.
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
    with progress_bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
