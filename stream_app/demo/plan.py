"""What the demo will do with a file: its settings follow from freq alone, its two halves from the file's time span."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_core.arrays import IntArray
from model_core.durations import format_duration, parse_duration_ms
from model_core.grid import DAY_MS, WEEK_MS
from model_core.spec import StreamSpec
from stream_app.errors import TidecastError
from stream_app.tables import Table, TableFile

PACKAGED = "uci374_appliances_26ch_10min.csv.gz"
PACKAGED_FREQ = "10min"
CONTEXT_MAX, CONTEXT_MIN = 432, 64
CONTEXT_SPAN_MS = 18 * DAY_MS
HORIZON = 24
PARTITIONS = 1  # readings of a moment settle together: half the work of two partitions with half the series each
STEP_MS_MIN = 1000
LATENESS = "30min"


@dataclass(frozen=True)
class Plan:
    """`name` is the stream, the topic, the application and the prefix of its outputs."""

    name: str
    table: Table
    spec: StreamSpec
    split_tick: int  # first tick of the second half
    packaged: bool  # the data that comes with tidecast

    @property
    def split_ms(self) -> int:
        return self.spec.grid.start_ms(self.split_tick)

    def first_half(self) -> Table:
        return self.table.between(end_ms=self.split_ms)

    def second_half(self) -> Table:
        return self.table.between(start_ms=self.split_ms)


def make_plan(data: TableFile | None, freq: str | None) -> Plan:
    """Raises TidecastError when a file has no freq, or too few readings."""
    packaged = data is None
    if data is None:
        data, freq = TableFile(Path(__file__).parents[1] / "data" / PACKAGED), freq or PACKAGED_FREQ
        name = "appliances"
    else:
        name = _topic_name(data.path)
    table = data.read()
    if freq is None:
        raise TidecastError(f"{data.path}: name the grid step of your data as well, such as --freq {_step_of(table)}")
    spec = stream_spec(name, freq)
    ticks = spec.grid.ticks(table.timestamps_ms[[0, -1]])
    split = int(ticks[0] + (ticks[1] - ticks[0] + 1) // 2)
    usual = (split - int(ticks[0])) // 2
    if usual < spec.horizon:
        raise TidecastError(
            f"{data.path}: expected at least {4 * spec.horizon} steps of {freq}, found {int(ticks[1] - ticks[0]) + 1}: "
            "too little to learn from one half and forecast the other. Is --freq right?"
        )
    _require_readings(data.path, freq, spec.grid.ticks(table.timestamps_ms))
    return Plan(name, table, spec, split, packaged)


def _step_of(table: Table) -> str:
    """The freq that fits most of its readings, where one does."""
    apart = np.diff(np.unique(table.timestamps_ms))
    step_ms = int(np.median(apart)) if len(apart) else 0
    return format_duration(step_ms) if STEP_MS_MIN <= step_ms <= DAY_MS else "1h"


def _require_readings(path: Path, freq: str, ticks: IntArray) -> None:
    """If the grid is finer than the readings, most of its steps are empty, and nothing can be learned from them."""
    apart = int(np.median(np.diff(np.unique(ticks))))
    if apart > 1:
        raise TidecastError(
            f"{path}: expected a reading in most steps of {freq}, found them {apart} steps apart: set --freq to the "
            "step of the readings."
        )


def stream_spec(name: str, freq: str) -> StreamSpec:
    """The stream's settings, which are the same for every file of this freq."""
    try:
        step_ms = parse_duration_ms(freq)
    except ValueError as error:
        raise TidecastError(f"--freq: {error}") from None
    if not STEP_MS_MIN <= step_ms <= DAY_MS:
        raise TidecastError(f"--freq: expected a step between 1s and 1d, found {freq}")
    seasons = [span for span in (DAY_MS, WEEK_MS) if span % step_ms == 0 and span >= 2 * step_ms]
    return StreamSpec(
        topic=name,
        freq=step_ms,
        context_length=int(np.clip(CONTEXT_SPAN_MS // step_ms, CONTEXT_MIN, CONTEXT_MAX)),
        horizon=HORIZON,
        seasonality=tuple(seasons),
        aggregate="mean",
        readings_per_step=1,
        max_out_of_orderness=0,
        allowed_lateness=parse_duration_ms(LATENESS),
        accuracy="records",
    )


def configuration(plan: Plan, *, bootstrap: str, redis_url: str, registry: Path, http_port: int) -> str:
    """The demo's tidecast.toml, as a person would write it."""
    spec = plan.spec
    seasons = ", ".join(f'"{format_duration(season)}"' for season in spec.seasonality)
    return f'''application_id = "{plan.name}-demo"

[http]
port = {http_port}

[kafka]
bootstrap_servers = "{bootstrap}"

[redis]
url = "{redis_url}"

[models]
registry = "{registry}"
poll_interval = "1s"

[streams.{plan.name}]
topic = "{spec.topic}"
freq = "{format_duration(spec.freq)}"
context_length = {spec.context_length}
horizon = {spec.horizon}
seasonality = [{seasons}]
aggregate = "mean"
readings_per_step = 1
max_out_of_orderness = "0s"
allowed_lateness = "{format_duration(spec.allowed_lateness)}"
accuracy = "records"
'''


def _topic_name(data: Path) -> str:
    """A name that is allowed as a topic, a TOML key and an application_id."""
    stem = data.name.split(".")[0]
    name = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "-" for char in stem)
    return name.strip("-_")[:60] or "readings"
