"""A trained model as a value: tensors, a manifest that describes them, and what the state needs to know of the model.

Bytes only: where the files are kept is up to the registry. Never pickle, never torch.load: safetensors hold numbers,
and nothing that could run.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as tensors_to_bytes

from model_core.arrays import AnyArray, FloatArray
from model_core.calendar_features import calendar_features, calendar_of
from model_core.drift.storm import STORM_SHARE_MIN
from model_core.errors import CorruptBundle
from model_core.ladder import TRACKED_RUNGS, Rung
from model_core.models.ridge import TARGET_WEIGHT, WINDOW_WEIGHT, window_width
from model_core.spec import CalendarFeature, StreamSpec

FORMAT = 1
MANIFEST_FILE = "manifest.json"
TENSORS_FILE = "model.safetensors"
# Threshold of the CUSUM for Gaussian residuals, before a trainer has seen the stream's own.
GAUSSIAN_CUSUM_THRESHOLD = 12.7
BASE = "quantiles.base"
SERIES_TABLES = "quantiles.series"


def version_of(moment: datetime, token: str) -> str:
    """The name of a version made now. Names sort by age; `token` tells two of the same second apart."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}-{token}"


def made_at(version: str | None) -> float | None:
    """When a version was made, according to its name: seconds since the epoch. None if the name does not say."""
    made = re.match(r"(\d{8}T\d{6})Z-", version or "")
    return datetime.strptime(made[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp() if made else None


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorShape(Strict):
    dtype: str
    shape: tuple[int, ...]


class Training(Strict):
    """What the model was trained on; for people and reports only."""

    first_tick: int = 0
    last_tick: int = 0
    series: int = 0
    windows: int = 0
    penalty: float = 0.0
    prior: str = ""


class Manifest(Strict):
    """Describes the tensors, and which streams they fit."""

    format: int = FORMAT
    model: str  # a name of models.MODELS
    version: str
    created_at: str  # RFC 3339
    step_ms: int
    timezone: str | None
    context_length: int
    horizon: int
    quantile_levels: tuple[float, ...]
    past_covariates: tuple[str, ...]
    future_covariates: tuple[str, ...]
    calendar: tuple[CalendarFeature, ...]
    holidays: str | None
    season: int  # ticks
    season_found: bool  # False: no season beat the last value, `season` is the stream's default
    cusum_threshold: float
    false_alarms_per_million: float | None  # of all detectors, measured at their thresholds; None: too little to learn
    horizon_threshold: float = GAUSSIAN_CUSUM_THRESHOLD
    level_threshold: float | None = None  # None: too little to learn it, levels are not watched
    storm_share: float = STORM_SHARE_MIN  # of series alarming within a season, above which it is a storm
    gap_max: int | None = None  # cells missing at the end of a window that it can do without; None: not learned
    series: tuple[str, ...]  # series with a table of their own, in the order of its rows
    training: Training
    tensors: dict[str, TensorShape]
    sha256: str  # of model.safetensors

    @staticmethod
    def of_stream(spec: StreamSpec) -> dict[str, Any]:
        """The fields of a manifest that say which stream the model is made for."""
        return {
            "step_ms": spec.step_ms,
            "timezone": spec.timezone,
            "context_length": spec.context_length,
            "horizon": spec.horizon,
            "quantile_levels": spec.quantile_levels,
            "past_covariates": spec.past_covariates,
            "future_covariates": spec.future_covariates,
            "calendar": calendar_features(spec),
            "holidays": spec.holidays,
        }

    def misfit(self, spec: StreamSpec) -> str | None:
        """Why this model cannot serve the stream, None when it can."""
        for name, found, expected in (
            ("freq (ms)", self.step_ms, spec.step_ms),
            ("timezone", self.timezone, spec.timezone),
            ("context_length", self.context_length, spec.context_length),
            ("horizon", self.horizon, spec.horizon),
            ("quantile_levels", self.quantile_levels, spec.quantile_levels),
            ("past_covariates", self.past_covariates, spec.past_covariates),
            ("future_covariates", self.future_covariates, spec.future_covariates),
        ):
            if found != expected:
                return f"model {self.version} has {name} = {found}, the stream {expected}: train a model for it"
        if self.season > spec.longest_season:
            return f"model {self.version} has a season of {self.season} ticks, the stream holds {spec.longest_season}"
        return None


@dataclass(frozen=True)
class ModelFacts:
    """What a PartitionState needs to know of the model in charge. H horizon, Q levels, N series with own tables."""

    name: str | None
    version: str | None
    season: int  # ticks; the stream's default when none is known
    base: FloatArray  # float64 [3, H, Q], residual quantiles per rung in units of u (cohort)
    series_base: dict[str, int]  # series id → row of series_tables
    series_tables: FloatArray  # float64 [N, H, Q], model rung only, for series with >= 500 residuals
    cusum_threshold: float
    horizon_threshold: float = GAUSSIAN_CUSUM_THRESHOLD
    level_threshold: float = math.inf
    storm_share: float = STORM_SHARE_MIN

    @classmethod
    def none(cls, spec: StreamSpec) -> "ModelFacts":
        """The facts before any training: Gaussian residuals, for the last value those of a random walk."""
        levels = np.array([NormalDist().inv_cdf(level) for level in spec.quantile_levels])
        base = np.repeat(np.broadcast_to(levels, (1, spec.horizon, len(levels))), TRACKED_RUNGS, axis=0).copy()
        base[Rung.LAST_VALUE] *= np.sqrt(np.arange(1, spec.horizon + 1))[:, None]
        empty = np.zeros((0, spec.horizon, len(levels)))
        return cls(None, None, spec.default_season, base, {}, empty, GAUSSIAN_CUSUM_THRESHOLD)


@dataclass(frozen=True)
class Bundle:
    """A manifest and its tensors. `sealed` and `from_files` make one, and ensure that they belong together."""

    manifest: Manifest
    tensors: dict[str, AnyArray]

    @classmethod
    def sealed(cls, tensors: Mapping[str, AnyArray], **manifest: Any) -> "Bundle":
        """A bundle of these tensors, with their shapes and checksum in the manifest."""
        arrays = {name: np.ascontiguousarray(tensor) for name, tensor in sorted(tensors.items())}
        return cls(Manifest(tensors=_shapes(arrays), sha256=_sha256(tensors_to_bytes(arrays)), **manifest), arrays)

    def to_files(self) -> dict[str, bytes]:
        return {
            MANIFEST_FILE: self.manifest.model_dump_json(indent=2).encode(),
            TENSORS_FILE: tensors_to_bytes(self.tensors),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Bundle":
        """The bundle of these files; CorruptBundle when one is missing, unreadable or not what the manifest says."""
        for name in (MANIFEST_FILE, TENSORS_FILE):
            if name not in files:
                raise CorruptBundle(f"a model needs {MANIFEST_FILE} and {TENSORS_FILE}; {name} is missing")
        try:
            manifest = Manifest.model_validate_json(files[MANIFEST_FILE])
        except ValidationError as error:
            raise CorruptBundle(f"{MANIFEST_FILE} cannot be read: {_first_problem(error)}") from error
        if manifest.format != FORMAT:
            raise CorruptBundle(f"{MANIFEST_FILE}: expected format {FORMAT}, found {manifest.format}; train again")
        found = _sha256(files[TENSORS_FILE])
        if found != manifest.sha256:
            raise CorruptBundle(
                f"{TENSORS_FILE} of model {manifest.version}: expected sha256 {manifest.sha256}, found {found}; "
                "the file was changed or cut off after training"
            )
        try:
            tensors = tensors_from_bytes(files[TENSORS_FILE])
        except SafetensorError as error:
            raise CorruptBundle(f"{TENSORS_FILE} of model {manifest.version} cannot be read: {error}") from error
        if _shapes(tensors) != manifest.tensors:
            raise CorruptBundle(f"{TENSORS_FILE} of model {manifest.version}: other tensors than the manifest lists")
        bundle = cls(manifest, dict(sorted(tensors.items())))
        bundle._check_tables()
        return bundle

    def misfit(self, spec: StreamSpec) -> str | None:
        """Why this model cannot serve the stream, None when it can: other settings, or weights for other inputs."""
        found = self.manifest.misfit(spec)
        window, target = (self.tensors.get(name) for name in (WINDOW_WEIGHT, TARGET_WEIGHT))
        if found or window is None or target is None:
            return found
        past, future = len(spec.past_covariates), len(spec.future_covariates)
        width = window_width(spec.context_length, past + future, future * spec.horizon)
        dates = calendar_of(spec.grid, self.manifest.calendar, self.manifest.holidays).width
        expected, shapes = ((width, spec.horizon), (dates + future, spec.horizon)), (window.shape, target.shape)
        if shapes == expected:
            return None
        return (
            f"model {self.manifest.version} has weights of shapes {shapes}, this version reads {expected}: another "
            "version trained it, train a new one (tidecast train)"
        )

    def facts(self) -> ModelFacts:
        """What a partition's state needs to know of the model that takes charge of it."""
        manifest = self.manifest
        return ModelFacts(
            name=manifest.model,
            version=manifest.version,
            season=manifest.season,
            base=self.tensors[BASE],
            series_base={series_id: row for row, series_id in enumerate(manifest.series)},
            series_tables=self.tensors[SERIES_TABLES],
            cusum_threshold=manifest.cusum_threshold,
            horizon_threshold=manifest.horizon_threshold,
            level_threshold=math.inf if manifest.level_threshold is None else manifest.level_threshold,
            storm_share=manifest.storm_share,
        )

    def _check_tables(self) -> None:
        manifest = self.manifest
        shape = (manifest.horizon, len(manifest.quantile_levels))
        for name, rows in ((BASE, TRACKED_RUNGS), (SERIES_TABLES, len(manifest.series))):
            table = self.tensors.get(name)
            if table is None or table.shape != (rows, *shape) or not np.isfinite(table).all():
                found = None if table is None else table.shape
                raise CorruptBundle(
                    f"model {manifest.version}: expected finite {name} of shape {(rows, *shape)}, found {found}"
                )


def _shapes(tensors: Mapping[str, AnyArray]) -> dict[str, TensorShape]:
    return {name: TensorShape(dtype=str(tensor.dtype), shape=tensor.shape) for name, tensor in sorted(tensors.items())}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
