"""Readings: one partition's part of a poll batch, as columns in log order."""

from dataclasses import dataclass, field

import numpy as np

from model_core.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Readings:
    """Finite, well-formed readings of one partition, in log order. A pack gives several with one offset."""

    series_ids: list[str]  # [n]
    timestamps_ms: IntArray  # int64 [n], event time
    values: FloatArray  # float64 [n], finite
    offsets: IntArray  # int64 [n], never decreasing
    deletions: tuple[tuple[int, str], ...] = field(default=())  # (offset, series_id) of tombstones, in log order

    def __len__(self) -> int:
        return len(self.series_ids)

    def part(self, start: int, end: int) -> "Readings":
        """Readings [start, end), without the tombstones."""
        if start == 0 and end == len(self.series_ids) and not self.deletions:
            return self
        cut = slice(start, end)
        return Readings(self.series_ids[cut], self.timestamps_ms[cut], self.values[cut], self.offsets[cut])

    @staticmethod
    def joined(parts: "list[Readings]") -> "Readings":
        """One after the other, without the tombstones."""
        if len(parts) == 1:
            return parts[0]
        names = [name for part in parts for name in part.series_ids]
        times, values, offsets = (
            np.concatenate([getattr(part, field) for part in parts]) for field in ("timestamps_ms", "values", "offsets")
        )
        return Readings(names, times, values, offsets)

    @staticmethod
    def empty() -> "Readings":
        return Readings([], np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.int64))
