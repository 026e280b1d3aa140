"""Prepared windows → a model's answers, in passes of a size that suits the device. These are the CPU's; gpu_passes.py
has the GPU's. Whether a model is asked at all, and what becomes of its answers, is decided by the predictor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model_core.arrays import AnyArray, BoolArray, FloatArray
from model_core.batches import WindowBatch
from model_core.bundle import Bundle
from model_core.errors import ModelFailed
from model_core.grid import Calendar
from model_core.libraries import CPU, Array, Library
from model_core.model_inputs import Prepared
from model_core.models import build_demand, build_model
from model_core.preparation import prepare, with_dates
from model_core.sight import Sight
from model_core.spec import StreamSpec

PASS_CELLS_MAX = 100_000  # of a pass over the CPU: half a megabyte a temporary array, which the caches hold


@dataclass(frozen=True)
class Answers:
    """What the model says of n rows."""

    locations: FloatArray  # float64 [n, H]
    suspicious: BoolArray  # bool [n]
    own: FloatArray | None  # float64 [n, H, G]: of intermittent demand; None where the model has none of any

    @staticmethod
    def joined(parts: list[Answers]) -> Answers:
        if len(parts) == 1:
            return parts[0]
        own = [part.own for part in parts if part.own is not None]
        return Answers(
            np.concatenate([part.locations for part in parts]),
            np.concatenate([part.suspicious for part in parts]),
            np.concatenate(own) if own else None,
        )


class Passes(Protocol):
    def answers(self, sight: Sight) -> Answers:
        """Answers for the windows that a model is asked about. Raises ModelFailed, whatever the model does wrong."""


class DeviceModel:
    """A bundle's model with its weights on a device."""

    def __init__(self, spec: StreamSpec, bundle: Bundle, library: Library) -> None:
        """CorruptBundle when its weights are unusable."""
        name = bundle.manifest.model
        self.version = bundle.manifest.version
        self._library, self._horizon = library, spec.horizon
        self._model = build_model(name, bundle.tensors, library)
        self._demand = build_demand(name, bundle.tensors, spec, library)

    @property
    def season(self) -> int:
        """Ticks after which the phases of demand repeat; 1 if the model knows nothing of demand."""
        return 1 if self._demand is None else self._demand.season

    def __call__(self, prepared: Prepared, targets: Array, phase: Array) -> tuple[Array, Array, Array | None]:
        """`targets` float32 [B, L], raw; `phase` int64 [B], origin tick mod season → Answers, on the device."""
        outputs = self._model(prepared.inputs)
        expected = (len(prepared.center), self._horizon)
        if outputs.shape != expected:
            raise ModelFailed(f"model {self.version}: expected outputs {expected}, found {tuple(outputs.shape)}")
        located = prepared.inverse(outputs)
        if self._demand is None:
            return located, prepared.suspicious, None
        # A window whose every step the model of demand answers is not suspicious: what is far outside for a sensor is
        # just a day on which somebody bought.
        xp, made = self._library.xp, self._demand(targets, phase, self._horizon)
        suspicious = prepared.suspicious & ~made.intermittent.all(axis=1)
        made = self._demand.beside(made, located)
        own = xp.where(made.intermittent[:, :, None], made.quantiles, float("nan"))
        return made.mean, suspicious, own


class CpuPasses:
    """Compiled kernels and numpy. No row is padded: a row's bytes depend on nothing but the row, in any company."""

    def __init__(self, spec: StreamSpec, bundle: Bundle, calendar: Calendar) -> None:
        """CorruptBundle when its weights are unusable."""
        self._model = DeviceModel(spec, bundle, CPU)
        self._calendar = calendar
        self._size = max(1, PASS_CELLS_MAX // spec.context_length)

    def answers(self, sight: Sight) -> Answers:
        asked, parts = sight.asked, []
        for number, at in enumerate(range(0, len(asked), self._size)):
            part = asked if len(asked) <= self._size else asked.rows(slice(at, at + self._size))
            parts.append(self._pass(part, sight.prepared, number))
        return Answers.joined(parts)

    def _pass(self, batch: WindowBatch, kept: list[Prepared] | None, number: int) -> Answers:
        """`kept`: parts that have been prepared, this one the `number`-th of them (Sight.prepared)."""
        try:
            with np.errstate(all="ignore"):  # answers are checked afterwards, row by row
                prepared = self._prepared(batch, kept, number)
                phase: AnyArray = batch.origins % self._model.season
                return Answers(*self._model(prepared, batch.windows[:, :, 0], phase))
        except ModelFailed:
            raise
        except Exception as error:  # whatever a model does wrong, the next rung of the ladder answers
            raise ModelFailed(f"model {self._model.version} failed on {len(batch)} windows: {error}") from error

    def _prepared(self, batch: WindowBatch, kept: list[Prepared] | None, number: int) -> Prepared:
        if kept is None:
            return prepare(batch, self._calendar)
        if number < len(kept):
            return with_dates(kept[number], batch, self._calendar)
        kept.append(prepare(batch, self._calendar))
        return kept[-1]
