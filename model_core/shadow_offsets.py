"""What a candidate learned about the series while it ran in the shadow, as a value that a journal can carry.

A swap that takes it over is not determined by the log: the shadow may have begun at any moment, and it is not in the
checkpoint. So the journal carries it, and a replay takes over the same.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_core.arrays import FloatArray

BYTES_MAX = 600_000  # of its JSON, about: a record of Kafka has a megabyte


@dataclass(frozen=True)
class ShadowOffsets:
    """Of the model rung: N series, K scored horizons, Q levels. Rounded as it is written, so that both sides have the
    same."""

    series: tuple[str, ...]
    offsets: FloatArray  # float16 [N, K, Q]
    unit: FloatArray  # float32 [N, 2], mean square of one-step residuals, updates
    cohort: FloatArray  # float32 [K, Q]

    def to_json(self) -> dict[str, Any]:
        """JSON values; as many series as a record can carry."""
        kept = self._that_fit()
        return {
            "series": kept.series,
            "shape": kept.cohort.shape,
            **{name: _text(getattr(kept, name)) for name in ("offsets", "unit", "cohort")},
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> ShadowOffsets:
        series, shape = tuple(said["series"]), tuple(said["shape"])
        return cls(
            series,
            _array(said["offsets"], np.float16, (len(series), *shape)),
            _array(said["unit"], np.float32, (len(series), 2)),
            _array(said["cohort"], np.float32, shape),
        )

    def _that_fit(self) -> ShadowOffsets:
        """Without names that no text can carry (half a surrogate pair), and those beyond BYTES_MAX."""
        of_each = (self.offsets[0].nbytes + self.unit[0].nbytes) * 4 / 3 if self.series else 0.0
        kept, size = [], 0.0
        for row, name in enumerate(self.series):
            try:
                size += of_each + len(name.encode()) + 3
            except UnicodeEncodeError:
                continue
            if size > BYTES_MAX:
                break
            kept.append(row)
        return ShadowOffsets(tuple(self.series[row] for row in kept), self.offsets[kept], self.unit[kept], self.cohort)


def _text(array: FloatArray) -> str:
    return b64encode(array.tobytes()).decode("ascii")


def _array(text: str, dtype: Any, shape: tuple[int, ...]) -> FloatArray:
    return np.frombuffer(b64decode(text), dtype).reshape(shape)
