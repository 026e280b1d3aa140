"""Passes over a GPU: windows are copied to it, one recorded graph of kernels answers them, answers are copied back.

A pass is some sixty small kernels, and launching them one by one takes longer than they do (measured on an H100: 3 ms,
whatever the batch). So passes have a few fixed sizes; for each size the launches are recorded once, as a CUDA graph,
and replayed. A pass that is not full answers old windows beside the new ones, which is harmless because no row depends
on another.

One thread at a time: whatever another thread launched meanwhile would be recorded as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from model_core.batches import WindowBatch
from model_core.bundle import Bundle
from model_core.errors import DeviceFailed, ModelFailed
from model_core.grid import Calendar
from model_core.passes import Answers, DeviceModel
from model_core.preparation import dates_of
from model_core.preparation_torch import prepare_on
from model_core.sight import Sight
from model_core.spec import StreamSpec
from model_core.torch_library import TorchLibrary

SIZES = (16_384, 4_096, 512, 64)
# Same shapes, same kernels, same order of summing: with one size a row has the same bytes in any company.
STRICT_SIZES = (4_096, 512, 64)
ORIGINS_MAX = 1_024  # distinct ones in a pass, each with a calendar of its own
WARM_UP = 2  # passes before one is recorded: libraries take their memory when they are called first
Tell = Callable[[str], None]


class _NoRoom(Exception):
    """There is no room for a pass over `size` windows."""

    def __init__(self, size: int, said: str) -> None:
        super().__init__(said)
        self.size = size


class GpuPasses:
    """`answers` as Passes has it, or DeviceFailed. Where a pass has no room, smaller ones are taken from then on."""

    def __init__(
        self, spec: StreamSpec, bundle: Bundle, calendar: Calendar, library: TorchLibrary, *, strict: bool, tell: Tell
    ) -> None:
        """CorruptBundle when its weights are unusable, DeviceFailed when they have no room. `tell` hears of smaller
        passes."""
        self._tell = tell
        self._spec, self._calendar, self._library = spec, calendar, library
        self._strict = strict
        self._sizes: tuple[int, ...] = STRICT_SIZES if strict else SIZES
        self._passes: dict[int, _Pass] = {}
        try:
            self._model = DeviceModel(spec, bundle, library)
        except Exception as error:
            if not library.is_at_fault(error):
                raise
            raise DeviceFailed(_sentence(error)) from error

    def answers(self, sight: Sight) -> Answers:
        asked = sight.asked
        while True:
            try:
                return Answers.joined([self._pass(part, size) for part, size in self._cut(asked)])
            except _NoRoom as full:
                smaller = tuple(size for size in self._sizes if size < full.size)
                if not smaller:
                    raise DeviceFailed(str(full)) from full
            self._shrink(smaller)

    def _shrink(self, sizes: tuple[int, ...]) -> None:
        self._passes.clear()
        self._sizes = sizes
        torch.cuda.empty_cache()
        self._tell(f"the device has no room: passes of at most {self._sizes[0]} windows now")

    def _cut(self, batch: WindowBatch) -> list[tuple[WindowBatch, int]]:
        """Parts of a batch, each with the size of its pass: the smallest that it fits in."""
        largest, parts = self._sizes[0], []
        at, rows = 0, len(batch)
        while at < rows:
            count = min(largest, rows - at)
            while count > ORIGINS_MAX and len(np.unique(batch.origins[at : at + count])) > ORIGINS_MAX:
                count //= 2
            size = largest if self._strict else min(size for size in self._sizes if size >= count)
            parts.append((batch if count == rows else batch.rows(slice(at, at + count)), size))
            at += count
        return parts

    def _pass(self, batch: WindowBatch, size: int) -> Answers:
        try:
            with torch.no_grad():
                if size not in self._passes:
                    self._passes[size] = _Pass(self._spec, self._model, self._library, size, self._calendar)
                return self._passes[size].answers(batch)
        except ModelFailed:
            raise
        except torch.OutOfMemoryError as error:
            raise _NoRoom(size, _sentence(error)) from error
        except Exception as error:
            if self._library.is_at_fault(error):
                raise DeviceFailed(_sentence(error)) from error
            raise ModelFailed(f"model {self._model.version} failed on {len(batch)} windows: {error}") from error


@dataclass(frozen=True)
class _Inputs:
    """The windows of a pass on the device, always at the same addresses. R rows, of which some count."""

    windows: Tensor  # float32 [R, L, 1 + C]
    known: Tensor  # float32 [R, H, F]
    center: Tensor  # float64 [R, 1 + C]
    scale: Tensor  # float64 [R, 1 + C]
    fill: Tensor  # int8 [R]
    phase: Tensor  # int64 [R]
    row: Tensor  # int64 [R], its calendar
    dates: Tensor  # float32 [U, H, K], of up to U distinct origins

    @staticmethod
    def empty(spec: StreamSpec, rows: int, dates: int, library: TorchLibrary) -> _Inputs:
        """`dates`: columns of the calendar."""
        future = len(spec.future_covariates)
        width, horizon = 1 + len(spec.past_covariates) + future, spec.horizon
        return _Inputs(
            library.zeros((rows, spec.context_length, width), torch.float32),
            library.zeros((rows, horizon, future), torch.float32),
            library.zeros((rows, width), torch.float64),
            library.zeros((rows, width), torch.float64),
            library.zeros((rows,), torch.int8),
            library.zeros((rows,), torch.int64),
            library.zeros((rows,), torch.int64),
            library.zeros((min(rows, ORIGINS_MAX), horizon, dates), torch.float32),
        )

    def put(self, batch: WindowBatch, season: int, calendar: Calendar) -> None:
        dates, row = dates_of(batch, calendar)
        phase = batch.origins % season
        arrays = (batch.windows, batch.known, batch.center, batch.scale, batch.fill, phase, row, dates)
        places: list[Tensor] = list(vars(self).values())
        for place, array in zip(places, map(np.ascontiguousarray, arrays), strict=True):
            place[: len(array)].copy_(torch.from_numpy(array), non_blocking=True)


class _Pass:
    """A pass over so many windows, recorded at its first use."""

    def __init__(
        self, spec: StreamSpec, model: DeviceModel, library: TorchLibrary, size: int, calendar: Calendar
    ) -> None:
        self._model, self._library, self._calendar = model, library, calendar
        self._inputs = _Inputs.empty(spec, size, calendar.width, library)
        self._outputs: tuple[Tensor, Tensor, Tensor | None] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def answers(self, batch: WindowBatch) -> Answers:
        self._inputs.put(batch, self._model.season, self._calendar)
        outputs = self._replayed() if self._library.records else self._computed()
        rows, numpy = len(batch), self._library.numpy
        locations, suspicious, own = (None if each is None else numpy(each[:rows]) for each in outputs)
        assert locations is not None
        assert suspicious is not None
        return Answers(locations, suspicious, own)

    def _computed(self) -> tuple[Tensor, Tensor, Tensor | None]:
        given = self._inputs
        prepared = prepare_on(
            self._library, given.windows, given.known, given.center, given.scale, given.fill, given.dates, given.row
        )
        return self._model(prepared, given.windows[:, :, 0], given.phase)

    def _replayed(self) -> tuple[Tensor, Tensor, Tensor | None]:
        if self._graph is None or self._outputs is None:
            self._record()
            return self._replayed()
        self._graph.replay()
        return self._outputs

    def _record(self) -> None:
        stream = _recording_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._computed()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.empty_cache()  # what the warm-up has taken is what the recording takes
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = self._computed()
        self._graph, self._outputs = graph, outputs


@cache
def _recording_stream() -> torch.cuda.Stream:
    """One stream for all recordings: cuBLAS keeps tens of megabytes for each stream that it has seen."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0]
