"""A `tidecast worker` with a fault inside its process: `python -m tests.chaos.faulty_worker FAULTS worker --config …`.

FAULTS is a JSON object. The product has no failpoints: what is wrong is wrapped around it here, before it starts.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.app.running_worker import WorkerProcess, World

SLEPT = "chaos: a forecast batch was slow"  # in the log of the worker


def start(world: World, config: Path, **faults: Any) -> WorkerProcess:
    """A worker with these faults: see FAULTS below."""
    return world.start(config, (sys.executable, "-m", __name__, json.dumps(faults), "worker"))


# --- in the worker's process ------------------------------------------------------------------------------------------


def shift_clock(by_ms: int) -> None:
    """The wall clock of this process is wrong by so much; the broker's and the test's are not."""
    right_s, right_ns = time.time, time.time_ns
    time.time = lambda: right_s() + by_ms / 1000
    time.time_ns = lambda: right_ns() + by_ms * 1_000_000


def sleep_in_forecasts(seconds: list[float]) -> None:
    """The n-th forecast batch takes seconds[n] longer; later ones are as fast as ever."""
    from model_core.predictor import Predictor

    answer, pauses = Predictor.answer, iter(seconds)

    def slow(self: Predictor, *arguments: Any) -> Any:
        if pause := next(pauses, 0.0):
            time.sleep(pause)
            print(SLEPT, flush=True)
        return answer(self, *arguments)

    Predictor.answer = slow  # type: ignore[method-assign]


def sleep_in_answers(seconds: list[float]) -> None:
    """As sleep_in_forecasts, also where no model is asked."""
    from stream_app.pipeline.forecast_batches import ForecastBatches

    answer, pauses = ForecastBatches.answer, iter(seconds)

    def slow(self: ForecastBatches, *arguments: Any) -> Any:
        time.sleep(next(pauses, 0.0))
        return answer(self, *arguments)

    ForecastBatches.answer = slow  # type: ignore[method-assign]


def wait_in_forecasts(fault: dict[str, Any]) -> None:
    """No forecast batch gets on while the file `path` is there, but for the `first` ones."""
    from model_core.predictor import Predictor

    answer, path, calls = Predictor.answer, Path(fault["path"]), itertools.count()

    def waiting(self: Predictor, *arguments: Any) -> Any:
        if next(calls) >= fault.get("first", 0):
            while path.exists():
                time.sleep(0.02)
        return answer(self, *arguments)

    Predictor.answer = waiting  # type: ignore[method-assign]


def hold_poll_thread(path: str) -> None:
    """The poll thread gets no further, once it has handed readings over, while this file is there."""
    from stream_app.polling.intake import Intake

    handed_over = Intake.handed_over

    def held(self: Intake, messages: Any) -> None:
        handed_over(self, messages)
        while messages and Path(path).exists():
            time.sleep(0.02)

    Intake.handed_over = held  # type: ignore[method-assign]


def tear_late(seconds: float) -> None:
    """Whoever is to ask for a rewind, because partitions went, is kept from it for so long."""
    from stream_app.polling.subscription import Subscription

    tear = Subscription._tear

    def late(self: Subscription, reason: str) -> None:
        time.sleep(seconds)
        tear(self, reason)

    Subscription._tear = late  # type: ignore[method-assign]


def fail_in_models(fault: dict[str, Any]) -> None:
    """The model raises `error` in its calls number first … last."""
    from model_core.libraries import CPU, library_of
    from model_core.passes import DeviceModel

    asked, name = DeviceModel, "__call__"
    if library_of("auto") is not CPU:  # there a model is called once, and what it did is replayed
        from model_core import gpu_passes

        asked, name = gpu_passes._Pass, "answers"  # type: ignore[assignment]
    called, calls = getattr(asked, name), itertools.count()
    errors = {"RuntimeError": RuntimeError, "TypeError": TypeError, "ArithmeticError": ArithmeticError}

    def failing(self: Any, *arguments: Any) -> Any:
        if fault["first"] <= next(calls) <= fault["last"]:
            raise errors[fault["error"]]("broken on purpose")
        return called(self, *arguments)

    setattr(asked, name, failing)


def read_only_format(known: int) -> None:
    """A version of tidecast that knows another format of checkpoints than this one."""
    from stream_app.checkpoints import header

    header.FORMAT = known


FAULTS: dict[str, Callable[[Any], None]] = {
    "clock_ms": shift_clock,
    "slow_forecasts": sleep_in_forecasts,
    "slow_answers": sleep_in_answers,
    "held_forecasts": wait_in_forecasts,
    "held_poll_thread": hold_poll_thread,
    "late_to_tear": tear_late,
    "failing_model": fail_in_models,
    "checkpoint_format": read_only_format,
}


def run(arguments: list[str]) -> None:
    from stream_app.runtime.threads import pin_threads

    pin_threads()
    for name, fault in json.loads(arguments[0]).items():
        FAULTS[name](fault)
    from stream_app.cli import main

    main(arguments[1:])


if __name__ == "__main__":
    run(sys.argv[1:])
