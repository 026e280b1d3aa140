"""A small real state to be kept, and a client that dies where a test wants it to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import redis.exceptions

from model_core.columns import Columns, Field, Piece

FIELDS = (
    Field("ring", np.float32, rows=16, fill=np.nan, ahead=True),
    Field("pending", np.float32, rows=5, inner=(2,), fill=np.nan, ahead=True),  # fewer rows than ticks are live
    Field("open", np.float64, rows=3),
    Field("mean", np.float64, fill=1.5),
    Field("offsets", np.float32, inner=(2, 3)),
    Field("last_tick", np.int64, fill=-1),
)
LIVE_TICKS = 9
AHEAD = {"ring", "pending"}


class SmallState:
    """Series with a ring of ticks: what the store needs of a partition's state, nothing else."""

    def __init__(self, fields: tuple[Field, ...] = FIELDS) -> None:
        self.columns = Columns(fields)
        self.next_offset = 0
        self.watermark_ms: int | None = None
        self.tick = 100

    def live_rows(self) -> tuple[int, int]:
        return self.tick - LIVE_TICKS + 1, self.tick

    def meta(self) -> dict[str, Any]:
        return {"tick": self.tick, "unknown": float("nan"), "share": 0.1 + 0.2, "words": ["ü", "\x00"]}

    @classmethod
    def restore(cls, meta: dict[str, Any], ids: list[bytes], pieces: Iterable[Piece]) -> SmallState:
        state = cls()
        state.columns.load(ids, pieces)
        state.tick = meta["tick"]
        return state

    # --- what happens to it -----------------------------------------------------------------------------------------

    def add(self, *names: str) -> None:
        self.columns.add(list(names))
        self.next_offset += 1

    def series(self) -> np.ndarray:
        return np.array(sorted(self.columns.index.values()), np.int64)

    def put(self, columns: np.ndarray, tick: int, values: Any) -> None:
        """One cell each, as an on-time reading or a correction."""
        for name in AHEAD & self.columns.fields.keys():
            field = self.columns.fields[name]
            row = tick % field.rows
            cells = np.broadcast_to(np.asarray(values, np.float32)[:, None], (len(columns), *(field.inner or (1,))))
            self.columns.arrays[name][columns >> 8, row, columns & 255] = cells if field.inner else cells[:, 0]
            self.columns.touch(name, columns, row)
        self.columns.flat("mean")[columns] += 1
        self.columns.flat("last_tick")[columns] = tick
        self.columns.touch_hot(columns)
        self.next_offset += len(columns)

    def close_tick(self, rng: np.random.Generator, share: float = 1.0) -> None:
        self.tick += 1
        series = self.series()
        spoke = series[rng.random(len(series)) < share]
        self.put(spoke, self.tick, rng.normal(size=len(spoke)))
        self.watermark_ms = self.tick * 1000

    def facts(self) -> dict[str, Any]:
        """All that must come back: two states are equal where these are, bit by bit."""
        blocks = self.columns.blocks
        found: dict[str, Any] = {"ids": list(self.columns.ids), "used": self.columns.used, "live": self.live_rows()}
        for name, field in self.columns.fields.items():
            array = self.columns.arrays[name][:blocks]
            if field.ahead:
                first, last = self.live_rows()
                live = np.unique(np.arange(first, last + 1) % field.rows)
                array = array[:, live]
            found[name] = array.tobytes()
        return found


def random_step(state: SmallState, rng: np.random.Generator, step: int) -> None:
    """A stretch of life: ticks, late corrections, new series, deleted ones, columns used again, gaps."""
    if rng.random() < 0.15 or not len(state.columns):
        state.add(*(f"{step}-{i}" for i in range(int(rng.integers(1, 200)))))
    for _ in range(int(rng.integers(0, 3))):
        state.close_tick(rng, share=rng.choice([1.0, 0.5, 0.01]))
    if rng.random() < 0.1:  # more ticks than there are free rows, some without any reading
        state.tick += int(rng.integers(3, 40))
        state.close_tick(rng)
    if rng.random() < 0.5:
        late = rng.choice(state.series(), size=3)
        state.put(np.unique(late), state.tick - int(rng.integers(0, LIVE_TICKS)), rng.normal(size=len(np.unique(late))))
    if rng.random() < 0.08 and len(state.columns) > 3:
        series = state.series()
        state.columns.remove(rng.choice(series, size=max(1, len(series) // 6), replace=False))
    if rng.random() < 0.3 and len(state.columns):
        row, some = int(rng.integers(0, 3)), rng.choice(state.series(), size=5)
        state.columns.arrays["open"][some >> 8, row, some & 255] = rng.normal()
        state.columns.touch("open", some, row)
    state.next_offset += 1


class Killed(redis.exceptions.ConnectionError):
    """The process or the connection ended here."""


class MortalClient:
    """Passes commands on to a real client until it dies: before a command reaches the server, or before its answer."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.sent = 0
        self.dies_at: int | None = None
        self.executes_last = False

    def live_for(self, commands: int | None, *, executes_last: bool = False) -> None:
        self.sent, self.dies_at, self.executes_last = 0, commands, executes_last

    def execute_command(self, *command: Any) -> Any:
        self.sent += 1
        if self.dies_at is not None and self.sent >= self.dies_at:
            if self.sent == self.dies_at and self.executes_last:
                self._client.execute_command(*command)
            raise Killed("killed by the test")
        return self._client.execute_command(*command)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def dump(client: Any) -> dict[bytes, bytes]:
    """All keys and what they hold."""
    return {key: client.dump(key) for key in client.scan_iter(match="*", count=1000)}


def take_back(client: Any, past: dict[bytes, bytes]) -> None:
    """What a failover to a replica that was behind does: the server holds what it held then."""
    client.flushdb()
    for key, value in past.items():
        client.restore(key, 0, value)
