"""Windows → uncalibrated locations of the model and both naive forecasts. A pure function of the batch and the model.

Used by the worker, the trainer and the backtest alike, so that what is served is what was judged. Calibration, the
choice of the rung and the bounds are the partition's.
"""

from dataclasses import dataclass

import numpy as np

from model_core.arrays import AnyArray, BoolArray, FloatArray
from model_core.batches import RawForecast, WindowBatch
from model_core.bundle import Bundle
from model_core.calendar_features import calendar_of
from model_core.errors import LayoutMismatch, ModelFailed
from model_core.ladder import Reason, Rung
from model_core.libraries import CPU, Array, library_of
from model_core.model_inputs import Prepared
from model_core.models import build_demand, build_model
from model_core.models.intermittent import Intermittent
from model_core.preparation import prepare, with_dates
from model_core.sight import Sight, look
from model_core.spec import StreamSpec

# Rows that a pass over a GPU has. A batch is cut into the largest that fit, the rest is padded to the smallest.
BUCKETS = (2048, 256, 32)
STRICT_BUCKETS = (2048, 1024, 512, 256, 128)
STRICT_ROWS = 128  # rows of every matrix product there in strict mode: they then all have one shape
PASS_CELLS_MAX = 100_000  # of a pass over the CPU: half a megabyte a temporary array, which the caches hold


@dataclass(frozen=True)
class _Answers:
    """What the model says of n rows."""

    locations: FloatArray  # float64 [n, H]
    suspicious: BoolArray  # bool [n]
    own: FloatArray | None  # float64 [n, H, G]: of intermittent demand; None where the model has none of any


class _DeviceFailed(Exception):
    """A pass could not be made where it was asked for; the model has said nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Predictor:
    """The raw part of a forecast. Whoever runs it tells of what has become of the device (`take_fallbacks`)."""

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

        `gone`: there is a model in charge, and nobody has its files: all rows say that it failed.
        """
        self.spec = spec
        self.name = bundle.manifest.model if bundle else None
        self.version = bundle.manifest.version if bundle else None
        self._library = library_of(device)
        self._fallbacks: list[str] = []
        self._buckets: tuple[int, ...] = STRICT_BUCKETS if strict else BUCKETS
        self._block = STRICT_ROWS if strict else None
        self._bundle = bundle
        self._without = Reason.MODEL_FAILED if gone else Reason.NO_MODEL
        gap_max = bundle.manifest.gap_max if bundle else None
        self.gap_max = spec.context_length if gap_max is None else gap_max  # cells missing at the end of a window
        if bundle is not None:
            misfit = bundle.misfit(spec)
            if misfit:
                raise LayoutMismatch(misfit)
            self._calendar = calendar_of(spec.grid, bundle.manifest.calendar, bundle.manifest.holidays)
            try:
                self._build(bundle)
            except Exception as error:
                if not self._is_of_device(error):
                    raise
                self._to_the_cpu(error)

    def take_fallbacks(self) -> list[str]:
        """Falls to a smaller bucket or to the CPU since they were taken last, each a sentence."""
        taken, self._fallbacks = self._fallbacks, []
        return taken

    def _build(self, bundle: Bundle) -> None:
        self._model = build_model(bundle.manifest.model, bundle.tensors, self._library)
        self._demand = build_demand(bundle.manifest.model, bundle.tensors, self.spec, self._library)

    def raw(self, batch: WindowBatch) -> RawForecast:
        """One row for each window. Never raises for bad rows: they say with `reason` why the model does not answer."""
        return self.answer(look(batch, self.spec.horizon))

    def answer(self, sight: Sight) -> RawForecast:
        """The same of windows that have been looked at. Its locations are the sight's own, until another answers."""
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

    def _answers(self, sight: Sight) -> _Answers:
        """The model's answers, bucket by bucket. Out of memory on the device: smaller buckets, then the CPU."""
        while True:
            try:
                cut = self._cut(sight.asked)
                parts = [self._pass(part, size, sight.prepared, number) for number, (part, size) in enumerate(cut)]
            except _DeviceFailed as failed:
                self._fall_back(failed.error)
            else:
                if len(parts) == 1:
                    return _Answers(*parts[0])
                locations, suspicious, own = zip(*parts, strict=True)
                joined = None if own[0] is None else np.concatenate(own)
                return _Answers(np.concatenate(locations), np.concatenate(suspicious), joined)

    def _cut(self, batch: WindowBatch) -> list[tuple[WindowBatch, int]]:
        """Parts of a batch, each with the size to pad it to. The CPU needs no padding: there a row's bytes depend on
        nothing but the row, in whatever company it is computed."""
        rows = len(batch)
        if self._library is CPU:
            size = max(1, PASS_CELLS_MAX // self.spec.context_length)
            parts = [(slice(at, at + size), min(size, rows - at)) for at in range(0, rows, size)]
        else:
            parts = _in_buckets(rows, self._buckets)
        return [(batch if len(parts) == 1 else batch.rows(part), size) for part, size in parts]

    def _pass(
        self, batch: WindowBatch, size: int, kept: list[Prepared] | None, number: int
    ) -> tuple[FloatArray, BoolArray, FloatArray | None]:
        """`kept`: parts that have been prepared, this one the `number`-th of them (Sight.prepared)."""
        rows = len(batch)
        padded = batch if rows == size else batch.rows(np.minimum(np.arange(size), rows - 1))
        try:
            with np.errstate(all="ignore"):  # what comes of it is looked at: a row that is not finite says so
                prepared = self._prepared(padded, kept, number)
                located = self._locate(prepared)
                answers = self._library.numpy(located)[:rows]
                suspicious = self._library.numpy(prepared.suspicious)[:rows]
                if self._demand is None:
                    return answers, suspicious, None
                return self._with_demand(self._demand, padded, rows, located, suspicious)
        except ModelFailed:
            raise
        except Exception as error:
            if self._is_of_device(error):
                raise _DeviceFailed(error) from error
            # whatever a model does wrong, the next rung of the ladder answers
            raise ModelFailed(f"model {self.version} failed on {rows} windows: {error}") from error

    def _prepared(self, padded: WindowBatch, kept: list[Prepared] | None, number: int) -> Prepared:
        if kept is None or self._library is not CPU:
            return prepare(padded, self._calendar, self._library, block=self._block)
        if number < len(kept):
            return with_dates(kept[number], padded, self._calendar)
        kept.append(prepare(padded, self._calendar, CPU, block=self._block))
        return kept[-1]

    def _locate(self, prepared: Prepared) -> Array:
        outputs = self._model(prepared.inputs)
        expected = (len(prepared.center), self.spec.horizon)
        if outputs.shape != expected:
            raise ModelFailed(f"model {self.version}: expected outputs {expected}, found {tuple(outputs.shape)}")
        return prepared.inverse(outputs)

    def _with_demand(
        self, model: Intermittent, padded: WindowBatch, rows: int, located: Array, suspicious: BoolArray
    ) -> tuple[FloatArray, BoolArray, FloatArray]:
        """The answers for steps that are intermittent in place of the others'. Nothing of a window that has no other
        is suspicious: what is far outside for a sensor is a day on which somebody bought."""
        library = self._library
        phase = library.array(padded.origins % model.season)
        made = model(library.array(padded.windows[:, :, 0]), phase, self.spec.horizon)
        seldom = library.numpy(made.intermittent.all(axis=1))[:rows]
        made = model.beside(made, located)
        often, mean, own = (library.numpy(part)[:rows] for part in (made.intermittent, made.mean, made.quantiles))
        return (
            mean,
            suspicious & ~seldom,
            np.where(often[:, :, None], own, np.nan),
        )

    def _is_of_device(self, error: Exception) -> bool:
        return isinstance(error, self._library.out_of_memory) or self._library.is_lost(error)

    def _fall_back(self, error: Exception) -> None:
        """Halve the work of a pass; on the CPU there is nothing left to give up, the failure is the model's."""
        if self._library.is_cpu or self._bundle is None:
            raise ModelFailed(f"model {self.version}: out of memory on the CPU")
        if self._library.is_lost(error) or len(self._buckets) == 1:
            self._to_the_cpu(error)
            return
        self._buckets = self._buckets[1:]
        self._fallbacks.append(f"the device has no room: batches of at most {self._buckets[0]} now")

    def _to_the_cpu(self, error: Exception) -> None:
        """For good: a device that failed once answers nothing more in this process, or at its next failure less."""
        assert self._bundle is not None
        what = "failed" if self._library.is_lost(error) else "has no room"
        self._fallbacks.append(f"the device {what}: the CPU answers now ({str(error).splitlines()[0]})")
        self._library = CPU
        self._build(self._bundle)


def _in_buckets(rows: int, buckets: tuple[int, ...]) -> list[tuple[slice, int]]:
    """Parts of so many rows, each with the size to pad it to: the largest buckets that are full, then the smallest."""
    parts, start = [], 0
    while start < rows:
        size = next((bucket for bucket in buckets if bucket <= rows - start), buckets[-1])
        parts.append((slice(start, min(start + size, rows)), size))
        start += size
    return parts


__all__ = ["BUCKETS", "STRICT_ROWS", "Predictor"]
