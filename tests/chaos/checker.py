"""The one checker of all fault runs: is what a deployment published right, whatever happened to it meanwhile?

It reads topics alone, as a consumer with read_committed sees them, and takes nothing from the packages it judges.

    I1 accounting  every input is in a forecast, warming up, a dead letter, too late, a duplicate, or a delete
    I2 once        one forecast a (stream, partition, series, origin, revision); accuracy, drift, decisions once as well
    I3 order       of a series: origins rise, and revisions within an origin
    I4 the same    forecasts as those of a fault-free run over the same log (states: saved.py)

I1 works out by itself what becomes of each reading, for streams with `readings_per_step = 1`; `Accounting` says by
which settings. Other streams set `accounting = None`, or bring an oracle of their own as `account`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

EXAMPLES_MAX = 5  # of each kind of violation
KINDS = ("forecasts", "accuracy", "drift", "dead-letters", "journal", "control")
# Of the same log, in two deployments, these may differ.
NOT_COMPARED = ("issued_at", "stream", "input")
Offset = tuple[int, int]  # partition, offset


@dataclass(frozen=True)
class Accounting:
    """The settings that decide what becomes of a reading; the stream has `readings_per_step = 1`."""

    step_ms: int = 600_000
    min_readings: int = 1
    forecast_every: int = 1
    first_offsets: Mapping[int, int] = field(default_factory=dict)  # partition → where the deployment began


@dataclass
class Verdict:
    """What was found. `violations` are sentences; `counts` how much was looked at."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def violation(self, kind: str, example: object, *, times: int = 1) -> None:
        self.problems[kind] += times
        if len(self.examples[kind]) < EXAMPLES_MAX:
            self.examples[kind].append(str(example))

    @property
    def violations(self) -> list[str]:
        return [f"{kind}: {count}, such as {'; '.join(self.examples[kind])}" for kind, count in self.problems.items()]

    @property
    def lost(self) -> int:
        return sum(count for kind, count in self.problems.items() if kind.startswith("I1 lost"))

    @property
    def doubled(self) -> int:
        return sum(count for kind, count in self.problems.items() if kind.startswith("I2"))

    def __str__(self) -> str:
        return "\n".join(self.violations or ["no violation"]) + f"\n{dict(self.counts)}"


@dataclass(frozen=True)
class Published:
    """Everything in the topics of one deployment, partition by partition in log order."""

    input: list[Any]
    outputs: dict[str, list[Any]]  # kind → messages

    @classmethod
    def read(cls, bootstrap: str, topic: str, prefix: str) -> Published:
        return cls(
            list(messages(bootstrap, topic)), {kind: list(messages(bootstrap, f"{prefix}.{kind}")) for kind in KINDS}
        )

    def bodies(self, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """(partition of the output topic, message), without deletes."""
        return [(each.partition(), json.loads(each.value())) for each in self.outputs[kind] if each.value()]


def messages(bootstrap: str, topic: str) -> Iterable[Any]:
    """All committed messages of a topic. An open or aborted transaction at its end does not hold it up."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "checker",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        partitions = consumer.list_topics(topic, 30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
        ended: set[int] = set()
        while len(ended) < len(partitions):
            for message in consumer.consume(10_000, 0.2):
                if message.error() is None:
                    yield message
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                elif not message.error().retriable():
                    raise AssertionError(f"{topic}: {message.error()}")
    finally:
        consumer.close()


def moment_ms(value: Any) -> int:
    """A time in a message: RFC 3339, or milliseconds."""
    return round(datetime.fromisoformat(value).timestamp() * 1000) if isinstance(value, str) else int(value)


def readings_of(message: Any) -> list[tuple[str, int]]:
    """(series id, event time) of each reading of a message; one that is no JSON has none."""
    try:
        body = json.loads(message.value())
        found = []
        for each in body if isinstance(body, list) else [body]:
            at = moment_ms(each["timestamp"])
            if "values" in each:
                head = f"{each['entity']}." if "entity" in each else ""
                found += [(head + name, at) for name in each["values"]]
            else:
                found.append((str(each["series_id"]), at))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return []
    return found


def check(
    published: Published,
    *,
    accounting: Accounting | None = Accounting(),
    account: Callable[[Published, Verdict], None] | None = None,
) -> Verdict:
    """I1 to I3. `account`: another oracle for I1."""
    verdict = Verdict()
    verdict.counts["records"] = len(published.input)
    for kind, found in published.outputs.items():
        verdict.counts[kind] = len(found)
    if account is not None:
        account(published, verdict)
    elif accounting is not None:
        _account(published, accounting, verdict)
    _once(published, verdict)
    _in_order(published, verdict)
    return verdict


# --- I1 accounting ----------------------------------------------------------------------------------------------------


def dead(published: Published) -> set[Offset]:
    """Coordinates of the messages that dead letters are about."""
    found = set()
    for message in published.outputs["dead-letters"]:
        headers = dict(message.headers() or ())
        found.add((int(headers["tidecast.error.partition"]), int(headers["tidecast.error.offset"])))
    return found


def _account(published: Published, rules: Accounting, verdict: Verdict) -> None:
    refused = dead(published)
    made: dict[tuple[str, int], list[Offset]] = defaultdict(list)  # (series, tick) → inputs of revision 0
    for _, body in published.bodies("forecasts"):
        if body["revision"] == 0:
            cause = (body["input"]["partition"], body["input"]["offset"])
            made[body["series_id"], moment_ms(body["origin"]) // rules.step_ms].append(cause)
    newest: dict[tuple[int, str], int] = {}  # (partition, series) → newest tick
    observed: Counter[tuple[int, str]] = Counter()
    known: set[Offset] = set()
    due = set()
    for message in published.input:
        at = (message.partition(), message.offset())
        known.add(at)
        if message.offset() < rules.first_offsets.get(at[0], 0):
            continue
        if message.value() is None:
            verdict.counts["deletes"] += 1
            continue
        if at in refused:
            verdict.counts["dead letters"] += 1
            continue
        found = readings_of(message)
        if not found:
            verdict.violation("I1 lost: neither readable nor a dead letter", at)
        for series_id, event_ms in found:
            who, tick = (at[0], series_id), event_ms // rules.step_ms
            fate = _fate(tick, newest.get(who), observed[who], rules)
            verdict.counts[fate] += 1
            if fate in ("too late", "duplicate"):
                continue
            newest[who] = tick
            observed[who] += 1
            if fate == "due":
                due.add((series_id, tick))
                if at not in made.get((series_id, tick), ()):
                    other = made.get((series_id, tick))
                    kind = "I1 caused by another reading" if other else "I1 lost: no forecast"
                    verdict.violation(kind, f"{series_id} at tick {tick}, input {at} {other or ''}")
    for cell, causes in made.items():
        for cause in causes:
            if cause[1] >= 0 and cause not in known:
                verdict.violation("I1 caused by no record of the input", (cell, cause))


def _fate(tick: int, newest: int | None, observed: int, rules: Accounting) -> str:
    """Of one reading, when each closes its cell."""
    if newest is not None and tick <= newest:
        return "duplicate" if tick == newest else "too late"
    if observed + 1 < rules.min_readings:
        return "warming up"
    return "due" if tick % rules.forecast_every == 0 else "between"


# --- I2 once, I3 in order ---------------------------------------------------------------------------------------------


def _once(published: Published, verdict: Verdict) -> None:
    for kind, identity in IDENTITIES.items():
        counted = Counter(identity(body) for _, body in published.bodies(kind))
        for what, times in counted.items():
            if times > 1:
                verdict.violation(f"I2 {kind} published more than once", f"{what} {times} times", times=times - 1)
    letters: Counter[tuple[bytes | None, ...]] = Counter()
    for message in published.outputs["dead-letters"]:
        headers = dict(message.headers() or ())
        names = (
            "tidecast.error.partition",
            "tidecast.error.offset",
            "tidecast.error.readings",
            "tidecast.error.reason",
        )
        letters[tuple(headers.get(name) for name in names)] += 1
    for letter, times in letters.items():
        if times > 1:
            verdict.violation("I2 dead letters published more than once", f"{letter} {times} times", times=times - 1)


def _cause(body: Mapping[str, Any]) -> tuple[int, int]:
    return body["input"]["partition"], body["input"]["offset"]


# What makes two messages of a kind the same one.
IDENTITIES: dict[str, Callable[[dict[str, Any]], tuple[Any, ...]]] = {
    "forecasts": lambda body: (
        body["stream"],
        body["input"]["partition"],
        body["series_id"],
        body["origin"],
        body["revision"],
    ),
    "accuracy": lambda body: (
        body["stream"],
        body["kind"],
        body["series_id"],
        body.get("origin", body.get("at")),
        *_cause(body),
    ),
    "drift": lambda body: (
        *(body[name] for name in ("stream", "series_id", "group", "detector", "state", "since", "at")),
        *_cause(body),
    ),
    "journal": lambda body: (
        body["stream"],
        body["partition"],
        body["next_offset"],
        json.dumps(body["decision"], sort_keys=True),
    ),
    "control": lambda body: (
        *(body.get(name) for name in ("stream", "kind", "group", "candidate", "champion", "since")),
        *_cause(body),
    ),
}


def _in_order(published: Published, verdict: Verdict) -> None:
    """By the log of the output partition. A series stays in one, as its key does."""
    newest: dict[tuple[Any, ...], int] = {}
    revisions: dict[tuple[Any, ...], int] = {}
    place: dict[str, int] = {}
    for partition, body in published.bodies("forecasts"):
        series_id, origin, revision = body["series_id"], moment_ms(body["origin"]), body["revision"]
        if place.setdefault(series_id, partition) != partition:
            verdict.violation("I3 a series in two partitions", (series_id, partition, place[series_id]))
        who = (body["input"]["partition"], series_id)
        if revision == 0 and origin <= newest.get(who, origin - 1):
            # the same origin again is I2's to say
            if origin < newest[who]:
                verdict.violation("I3 an earlier origin after a later one", (series_id, body["origin"], body["input"]))
        elif revision > 0 and revision <= revisions.get((*who, origin), -1):
            verdict.violation("I3 revisions do not rise", (series_id, body["origin"], revision))
        revisions[*who, origin] = max(revision, revisions.get((*who, origin), 0))
        newest[who] = max(origin, newest.get(who, origin))


# --- I4 as an undisturbed run -----------------------------------------------------------------------------------------


def compare_forecasts(published: Published, reference: Published, verdict: Verdict) -> None:
    """Byte for byte what an undisturbed deployment published over the same log; all fields but NOT_COMPARED."""
    mine, theirs = (_comparable(each) for each in (published, reference))
    for cell in theirs.keys() - mine.keys():
        verdict.violation("I4 only the undisturbed run has it", cell)
    for cell in mine.keys() - theirs.keys():
        verdict.violation("I4 only the disturbed run has it", cell)
    for cell in mine.keys() & theirs.keys():
        verdict.counts["compared forecasts"] += 1
        if mine[cell] != theirs[cell]:
            names = [name for name in theirs[cell] if mine[cell].get(name) != theirs[cell][name]]
            verdict.violation("I4 forecast unlike the undisturbed run's", f"{cell} in {names}")


def _comparable(published: Published) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Numbers stay the text they were printed as."""
    found = {}
    for message in published.outputs["forecasts"]:
        if message.value():
            body = json.loads(message.value(), parse_float=str)
            cell = (body["series_id"], body["origin"], body["revision"])
            found[cell] = {name: value for name, value in body.items() if name not in NOT_COMPARED}
    return found
