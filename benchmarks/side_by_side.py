"""W1 on the ceiling, tidecast and Kafka Streams in turns: what one of them meets of the machine's moods, all do.

A round that is not counted goes first: a broker that has just started compiles itself meanwhile, on cores that all
share.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.ceiling import ceiling, own_ceiling
from benchmarks.deployment import Delivery, Deployment
from benchmarks.drain import Drained, drain
from benchmarks.figure import Asked, Figure, Row
from benchmarks.kafka_streams import CACHE_MIB, THREADS, Compiled, compile_streams, streams_rate
from benchmarks.peers_folder import PEERS, peer_rate
from benchmarks.stage import Stage
from benchmarks.w1 import profile_text
from benchmarks.worker_process import FigureFailed
from benchmarks.workload import Workload, create_topics, delete_topics, produce

DELIVERIES: tuple[Delivery, ...] = ("exactly_once", "at_least_once")
CEILINGS = {
    "ceiling": "ceiling: consume + decode, nothing else",
    "own ceiling": "its own ceiling: fetch + decode + check as the worker does, nothing else",
}
WARM_UP = -1  # the round before the first
Take = Callable[[int], float]  # round → readings/s


@contextmanager
def filled(stage: Stage, workload: Workload) -> Iterator[None]:
    """The workload's topic, with all of it inside."""
    create_topics(stage.bootstrap, [workload.topic], workload.partitions)
    try:
        produce(stage.bootstrap, workload)
        yield
    finally:
        delete_topics(stage.bootstrap, [workload.topic])


class Rounds:
    """Systems by name, measured in turns; one that fails drops out with its reason, and the others go on."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._systems: dict[str, Take] = {}
        self.rates: dict[str, list[float]] = defaultdict(list)
        self.failed: dict[str, str] = {}

    def add(self, name: str, take: Take) -> None:
        self._systems[name] = take

    def run(self, rounds: int) -> None:
        for round_ in range(WARM_UP, rounds):
            for name, take in self._systems.items():
                if name in self.failed:
                    continue
                try:
                    rate = take(round_)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is this system's result
                    self.failed[name] = f"{type(error).__name__}: {error}"
                    self._asked.say(f"    {name}: {self.failed[name][:500]}")
                    continue
                self._asked.say(f"    round {round_ + 1}: {name}: {rate:,.0f} readings/s")
                if round_ != WARM_UP:
                    self.rates[name].append(rate)

    def row(self, name: str, what: str, *, must: str = "", note: str = "") -> Row:
        if name in self.failed:
            return Row(what, None, "readings/s", must=must, note=f"failed: {self.failed[name].splitlines()[0][:300]}")
        return Row.of(what, self.rates[name], "readings/s", must=must, note=note)


def tidecast(
    stage: Stage, name: str, workload: Workload, delivery: Delivery, asked: Asked, into: list[Drained]
) -> Take:
    def take(round_: int) -> float:
        turn = round_ - WARM_UP
        drained = drain(Deployment(stage, f"{name}-{turn}", workload, delivery, interval_ms=asked.sizes.interval_ms))
        if round_ != WARM_UP:
            into.append(drained)
        return drained.rate

    return take


def _add_ceilings(rounds: Rounds, stage: Stage, workload: Workload) -> None:
    for name, measure in zip(CEILINGS, (ceiling, own_ceiling), strict=True):
        rounds.add(name, lambda _, measure=measure: measure(stage.bootstrap, workload))  # type: ignore[misc]


def _ceilings(rounds: Rounds, of: str = "") -> list[Row]:
    return [rounds.row(name, f"{title}{of}") for name, title in CEILINGS.items()]


def _streams(
    stage: Stage, compiled: Compiled, workload: Workload, delivery: Delivery, commit_ms: int, round_: int
) -> float:
    return streams_rate(stage, compiled, workload, delivery, commit_ms)


def measure_w1(stage: Stage, asked: Asked, figure: Figure) -> None:
    sizes = asked.sizes
    workload = Workload("w1", sizes.series, sizes.ticks)
    runs: dict[Delivery, list[Drained]] = {delivery: [] for delivery in DELIVERIES}
    rounds = Rounds(asked)
    with filled(stage, workload):
        _add_ceilings(rounds, stage, workload)
        for delivery in DELIVERIES:
            rounds.add(delivery, tidecast(stage, f"w1-{delivery}", workload, delivery, asked, runs[delivery]))
        try:
            compiled = compile_streams(stage.folder)
        except FigureFailed as error:
            rounds.failed |= {f"streams {delivery}": str(error) for delivery in DELIVERIES}
        else:
            for each in DELIVERIES:
                rounds.add(f"streams {each}", partial(_streams, stage, compiled, workload, each, sizes.interval_ms))
        rounds.run(sizes.rounds)
        peers = [peer_rate(stage, asked.peers, peer, workload) for peer in PEERS] if asked.peers else []
    figure.rows += _ceilings(rounds)
    for delivery, target in zip(DELIVERIES, (0.65, 0.75), strict=True):
        must = f"2 × Kafka Streams, towards {target} of the ceiling"
        note = _ratios(rounds, delivery)
        figure.rows.append(rounds.row(delivery, f"tidecast, one process, {_words(delivery)}", must=must, note=note))
    for delivery in DELIVERIES:
        note = f"{THREADS} threads, {CACHE_MIB} MiB cache, commits every {sizes.interval_ms} ms"
        figure.rows.append(rounds.row(f"streams {delivery}", f"Kafka Streams, {_words(delivery)}", note=note))
    figure.rows += peers
    _tell_runs(figure, runs)
    figure.raw |= {"rates": dict(rounds.rates), "failed": rounds.failed, "readings": workload.readings}
    if rounds.failed.keys() & {*CEILINGS, *DELIVERIES}:
        figure.error = "; ".join(rounds.failed.values())


def _tell_runs(figure: Figure, runs: dict[Delivery, list[Drained]]) -> None:
    for delivery, drained in runs.items():
        if not drained:
            continue
        middle = sorted(drained, key=lambda each: each.rate)[len(drained) // 2]
        commands = [each.redis_commands / each.readings for each in drained]
        what = f"Redis commands a reading, backlog, {_words(delivery)}"
        figure.rows.append(Row.of(what, commands, "commands", must="≤ .02"))
        figure.texts.append(f"{_words(delivery)}, {middle.counts}\n{profile_text(middle)}")
        figure.raw[f"runs {delivery}"] = [each.as_dict() for each in drained]


def _ratios(rounds: Rounds, delivery: Delivery) -> str:
    def ratio(name: str) -> float:
        return statistics.median(rounds.rates[delivery]) / statistics.median(rounds.rates[name])

    if not rounds.rates[delivery]:
        return ""
    words = {"ceiling": "{:.2f} of the ceiling", "own ceiling": "{:.2f} of its own"}
    words |= {f"streams {delivery}": "{:.1f} × Kafka Streams"}
    return ", ".join(said.format(ratio(name)) for name, said in words.items() if rounds.rates[name])


def _words(delivery: Delivery) -> str:
    return delivery.replace("_", " ")


def measure_packs(stage: Stage, asked: Asked, figure: Figure) -> None:
    workload = Workload("w1-packed", asked.sizes.series, asked.sizes.packed_ticks, "packed")
    _beside_ceiling(stage, asked, figure, workload, "packs of 100", "1.2M where the ceiling of single readings is 1.2M")


def measure_staggered(stage: Stage, asked: Asked, figure: Figure) -> None:
    """Beside aligned ones of the same length, in the same rounds."""
    sizes = asked.sizes
    aligned = Workload("w1-aligned", sizes.series, sizes.ticks)
    staggered = Workload("w1-staggered", sizes.series, sizes.ticks, "staggered")
    rounds, runs = Rounds(asked), {"aligned": [], "staggered": []}  # type: ignore[var-annotated]
    with filled(stage, aligned), filled(stage, staggered):
        for name, workload in (("aligned", aligned), ("staggered", staggered)):
            rounds.add(name, tidecast(stage, f"stagger-{name}", workload, DELIVERIES[0], asked, runs[name]))
        rounds.run(sizes.rounds)
    one, other = (Row.of("", rounds.rates[name], "").value for name in ("aligned", "staggered"))
    note = f"{other / one:.2f} of aligned" if one and other else ""
    figure.rows.append(rounds.row("staggered", "staggered series, exactly once", must=".8 of aligned", note=note))
    figure.raw |= {name: [each.as_dict() for each in found] for name, found in runs.items()}
    figure.error = "; ".join(rounds.failed.values()) or None


def _beside_ceiling(stage: Stage, asked: Asked, figure: Figure, workload: Workload, what: str, must: str) -> None:
    rounds = Rounds(asked)
    runs: dict[Delivery, list[Drained]] = {delivery: [] for delivery in DELIVERIES}
    with filled(stage, workload):
        _add_ceilings(rounds, stage, workload)
        for delivery in DELIVERIES:
            rounds.add(
                delivery, tidecast(stage, f"{workload.topic}-{delivery}", workload, delivery, asked, runs[delivery])
            )
        rounds.run(asked.sizes.rounds)
    figure.rows += _ceilings(rounds, f", {what}")
    for delivery in DELIVERIES:
        figure.rows.append(
            rounds.row(delivery, f"{what}, {_words(delivery)}", must=must, note=_ratios(rounds, delivery))
        )
    figure.raw |= {delivery: [each.as_dict() for each in found] for delivery, found in runs.items()}
    figure.texts += [profile_text(found[-1]) for found in runs.values() if found][:1]
    figure.error = "; ".join(rounds.failed.values()) or None
