"""Windows → uncalibrated locations of the model and both naive forecasts. A pure function of the batch and the model.

The worker, the trainer and the backtest all use it, so that what is served is what was judged. Calibration, the choice
of the rung and the bounds belong to the partition.
"""

from typing import cast

import numpy as np

from model_core.arrays import AnyArray
from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import Bundle
from model_core.calendar_features import calendar_of
from model_core.errors import DeviceFailed, LayoutMismatch, ModelFailed
from model_core.ladder import Reason, Rung
from model_core.libraries import CPU, library_of
from model_core.passes import Answers, CpuPasses, Passes
from model_core.sight import Sight, look
from model_core.spec import StreamSpec


class Predictor:
    """The raw part of a forecast. Its caller reports what happened to the device (`take_fallbacks`)."""

    def __init__(
        self,
        spec: StreamSpec,
        bundle: Bundle | None,
        *,
        device: str = "auto",
        strict: bool = False,
        gone: bool = False,
    ) -> None:
        """LayoutMismatch when the model was trained for other shapes, CorruptBundle when its weights are unusable,
        NoDevice when the device is not there.

        `gone`: there is a model in charge, but its files are gone: all rows say that it failed.
        """
        self.spec = spec
        self.name = bundle.manifest.model if bundle else None
        self.version = bundle.manifest.version if bundle else None
        self._fallbacks: list[str] = []
        self._bundle = bundle
        self._without = Reason.MODEL_FAILED if gone else Reason.NO_MODEL
        gap_max = bundle.manifest.gap_max if bundle else None
        self.gap_max = spec.context_length if gap_max is None else gap_max  # cells missing at the end of a window
        if bundle is not None:
            misfit = bundle.misfit(spec)
            if misfit:
                raise LayoutMismatch(misfit)
            self._calendar = calendar_of(spec.grid, bundle.manifest.calendar, bundle.manifest.holidays)
            self._passes = self._passes_on(device, strict, bundle)

    def take_fallbacks(self) -> list[str]:
        """Sentences about falling back to smaller passes or to the CPU, since the last call."""
        taken = self._fallbacks.copy()
        self._fallbacks.clear()
        return taken

    def _passes_on(self, device: str, strict: bool, bundle: Bundle) -> Passes:
        library = library_of(device)
        if library is CPU:
            return CpuPasses(self.spec, bundle, self._calendar)
        from model_core.gpu_passes import GpuPasses
        from model_core.torch_library import TorchLibrary

        try:
            there = cast(TorchLibrary, library)
            return GpuPasses(self.spec, bundle, self._calendar, there, strict=strict, tell=self._fallbacks.append)
        except DeviceFailed as error:
            return self._passes_instead(error, bundle)

    def _passes_instead(self, error: DeviceFailed, bundle: Bundle) -> Passes:
        """The CPU's, for good: a device that failed once would cost every later batch the time to fail again."""
        self._fallbacks.append(f"the CPU answers now, the device does not: {error}")
        return CpuPasses(self.spec, bundle, self._calendar)

    def raw(self, batch: WindowBatch) -> RawForecast:
        """One row for each window. Bad rows never raise: their `reason` says why the model does not answer."""
        return self.answer(look(batch, self.spec.horizon))

    def answer(self, sight: Sight) -> RawForecast:
        """The same for a sight. The answer shares the sight's `locations`, which the next answer overwrites."""
        rows, locations = len(sight), sight.locations
        suspicious, own = np.zeros(rows, np.bool_), None
        if self._bundle is None:
            reason = np.full(rows, self._without, np.int8)
            locations[:, Rung.MODEL] = np.nan
            return RawForecast(locations, reason, sight.observed_share, suspicious)
        too_long = sight.gap > self.gap_max
        if too_long.any():
            sight = sight.but(too_long)
        reason, usable = sight.reason.copy(), sight.usable
        if len(usable):
            try:
                answers = self._answers(sight)
            except ModelFailed:
                reason[usable] = Reason.MODEL_FAILED
                locations[:, Rung.MODEL] = np.nan
            else:
                finite: AnyArray = np.all(np.isfinite(answers.locations), axis=1)
                if len(usable) == rows and finite.all():  # as most often: no copy by index
                    locations[:, Rung.MODEL] = answers.locations
                    return RawForecast(locations, reason, sight.observed_share, answers.suspicious, answers.own)
                locations[usable, Rung.MODEL] = np.where(finite[:, None], answers.locations, np.nan)
                reason[usable[~finite]] = Reason.NON_FINITE
                suspicious[usable] = answers.suspicious
                if answers.own is not None:
                    own = np.full((rows, *answers.own.shape[1:]), np.nan)
                    own[usable] = answers.own
        return RawForecast(locations, reason, sight.observed_share, suspicious, own)

    def _answers(self, sight: Sight) -> Answers:
        try:
            return self._passes.answers(sight)
        except DeviceFailed as error:
            assert self._bundle is not None
            self._passes = self._passes_instead(error, self._bundle)
            return self._passes.answers(sight)
