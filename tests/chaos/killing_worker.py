"""The real worker, in which one call of one step does something terrible. The product has no failpoints: here its own
methods are wrapped, then the usual command runs.

    python -m tests.chaos.killing_worker --at commit --when before --nth 5 --do kill  --config tidecast.toml

`--do stop` suspends the process there instead (SIGSTOP) until somebody sends SIGCONT. `--without` takes a protection
away, for the negative controls: a checker that never complains proves nothing.
"""

from __future__ import annotations

import argparse
import functools
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def every_call(*arguments: Any, **named: Any) -> bool:
    return True


@dataclass(frozen=True)
class Place:
    """A moment in the story of a batch: before or after a call of a method, `module:Class.method`."""

    method: str
    when: str  # before, after
    counts: Callable[..., bool] = every_call  # which of its calls, by their arguments


# In the order of the story. To adapt it to renamed steps: these lines.
PLACES = {
    "decoded": Place("stream_app.pipeline.pipeline:Pipeline._arrive", "after"),
    "observed": Place("stream_app.pipeline.pipeline:Pipeline._answer", "before"),
    "forecast": Place("stream_app.pipeline.pipeline:Pipeline._answer", "after"),
    "begun": Place("stream_app.delivery.publisher:Publisher._begin", "after"),
    "produced": Place("stream_app.delivery.publisher:Publisher._produce", "after"),
    "flushed": Place("stream_app.delivery.publisher:Publisher._flush", "after"),
    "offsets sent": Place("stream_app.delivery.publisher:Publisher._send_offsets", "after"),
    "before commit": Place("stream_app.delivery.publisher:Publisher._commit", "before"),
    "committed": Place("stream_app.delivery.publisher:Publisher._commit", "after"),
    "before write": Place("stream_app.checkpoints.commands:PartitionKeys.write", "before"),
    "half written": Place("stream_app.checkpoints.commands:PartitionKeys.write", "after"),
    "before flip": Place("stream_app.checkpoints.commands:PartitionKeys.flip", "before"),
    "flipped": Place("stream_app.checkpoints.commands:PartitionKeys.flip", "after"),
}


def moves_on(delivery: Any, request: Any) -> bool:
    """Its outputs are of new readings. A cut may also be made for a checkpoint alone."""
    return bool(request.offsets)


# Moments at which a negative control must do harm.
CONTROL_PLACES = {
    "outputs acknowledged": Place("stream_app.delivery.at_least_once:AtLeastOnce.send_offsets", "before", moves_on),
    "past offsets": Place("stream_app.delivery.publisher:Publisher.past_offsets", "after"),  # of "offsets last"
    "transaction full": Place("stream_app.delivery.exactly_once:ExactlyOnce.send_offsets", "before", moves_on),
    "saved ahead": Place("stream_app.delivery.publisher:Publisher.saved_ahead", "after"),  # of "checkpoint last"
}


def owner_of(method: str) -> tuple[Any, str]:
    """(class, name of the method)"""
    module, path = method.split(":")
    __import__(module)
    class_name, name = path.split(".")
    owner = getattr(sys.modules[module], class_name)
    assert hasattr(owner, name), f"{method} is no more: adapt PLACES"
    return owner, name


def wrap(method: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    owner, name = owner_of(method)
    inner = getattr(owner, name)
    setattr(owner, name, functools.wraps(inner)(around(inner)))


def strike(place: Place, nth: int, what: str, once: Path | None) -> None:
    """At the n-th call from now; or, with `once`, from when that file is there."""
    calls = 0

    def around(inner: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            its_turn = False
            if place.counts(*arguments, **named) and (once is None or once.exists()):
                calls += 1
                its_turn = calls == nth
            if its_turn and place.when == "before":
                hit(what)
            result = inner(*arguments, **named)
            if its_turn and place.when == "after":
                hit(what)
            return result

        return step

    wrap(place.method, around)


def hit(what: str) -> None:
    print(f"chaos: {what}", flush=True)
    os.kill(os.getpid(), SIGNALS[what])
    if what == "kill":
        time.sleep(1)  # a signal to oneself may take a moment: no other line of the step runs before it


def without_store_fence() -> None:
    """Redis takes every write, whoever sends it and whatever its heir has deleted."""
    from stream_app.checkpoints import commands

    short = "return 'short ' .. key"
    assert short in commands._WRITE
    commands._WRITE = commands._WRITE.replace(short, "")

    for name in ("_WRITE", "_REGISTER", "_FLIP"):
        script: str = getattr(commands, name)
        assert commands._FENCE in script
        setattr(commands, name, script.replace(commands._FENCE, ""))


def without_producer_fence() -> None:
    """A new transactional id with each start, and offsets sent without the generation of the group."""
    from confluent_kafka import Consumer

    def under_another_name(inner: Callable[..., Any]) -> Callable[..., Any]:
        def made(self: Any, settings: Any, properties: dict[str, Any], commits: Any) -> None:
            inner(self, settings, {**properties, "transactional.id": secrets.token_hex(8)}, commits)
            group = {"bootstrap.servers": properties["bootstrap.servers"], "group.id": settings.application_id}
            self.stranger = Consumer(group)  # never joins: its metadata names no generation, and Kafka checks none

        return made

    def as_a_stranger(inner: Callable[..., Any]) -> Callable[..., Any]:
        def sent(self: Any, permit: Any) -> Any:
            permit.wait = self.stranger.consumer_group_metadata
            return inner(self, permit)

        return sent

    wrap("stream_app.delivery.exactly_once:ExactlyOnce.__init__", under_another_name)
    wrap("stream_app.delivery.exactly_once:ExactlyOnce.send_offsets", as_a_stranger)


def with_checkpoint_first() -> None:
    """The state goes to Redis before its outputs are committed (steps 5 and 6 swapped)."""
    from stream_app.delivery import Committed
    from stream_app.delivery.publisher import Publisher
    from stream_app.delivery.saver import CommittedCut, Saver

    save_all = Saver._save_all

    def around(inner: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(self: Any, cut: Any) -> Any:
            save_all(self._saver, CommittedCut(cut, Committed(frozenset(cut.offsets)), time.monotonic()))
            if any(owned.at in cut.offsets for owned, _ in cut.checkpoints):
                self.saved_ahead()
            return inner(self, cut)

        return attempt

    Publisher.saved_ahead = lambda self: None  # type: ignore[attr-defined]  # a state is ahead of its offset now
    wrap("stream_app.delivery.publisher:Publisher._attempt", around)
    Saver._save_all = lambda self, done: None  # type: ignore[method-assign]


def with_offsets_first() -> None:
    """At least once, but the offsets are committed before the outputs are handed over (steps 2 and 4 swapped)."""
    from stream_app.delivery.publisher import Publisher

    produce, flush, send = Publisher._produce, Publisher._flush, Publisher._send_offsets

    def commit_then_produce(self: Any, permit: Any) -> Any:
        committed = send(self, permit)
        committed.wait()
        if permit.offsets:
            self.past_offsets()
        produce(self)
        flush(self)
        return committed

    Publisher.past_offsets = lambda self: None  # type: ignore[attr-defined]  # their outputs are still here
    for name in ("_produce", "_flush"):
        setattr(Publisher, name, lambda self: None)
    Publisher._send_offsets = commit_then_produce  # type: ignore[method-assign]


CONTROLS = {
    "store fence": without_store_fence,
    "producer fence": without_producer_fence,
    "checkpoint last": with_checkpoint_first,
    "offsets last": with_offsets_first,
}


def command(
    at: str | None = None, nth: int = 1, do: str = "kill", without: tuple[str, ...] = (), once: Path | None = None
) -> tuple[str, ...]:
    """For World.start."""
    words = [sys.executable, "-m", "tests.chaos.killing_worker"]
    if at is not None:
        words += ["--at", at, "--nth", str(nth), "--do", do, *([] if once is None else ["--once", str(once)])]
    for name in without:
        words += ["--without", name]
    return tuple(words)


def main() -> None:
    from stream_app.runtime.threads import pin_threads

    pin_threads()  # as the command does: before anything imports numpy
    parser = argparse.ArgumentParser()
    parser.add_argument("--at")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--do", choices=SIGNALS, default="kill")
    parser.add_argument("--once", type=Path)
    parser.add_argument("--without", choices=CONTROLS, action="append", default=[])
    chosen, rest = parser.parse_known_args()
    for name in chosen.without:
        CONTROLS[name]()
    if chosen.at is not None:
        strike((PLACES | CONTROL_PLACES)[chosen.at], chosen.nth, chosen.do, chosen.once)
    from stream_app.cli import main as tidecast

    tidecast(["worker", *rest])


if __name__ == "__main__":
    main()
