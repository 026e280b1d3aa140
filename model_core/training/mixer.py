"""Windows → what the network of the patch mixer learns from: features, and the residuals of ridge."""

from collections.abc import Iterator

import numpy as np

from model_core.arrays import AnyArray
from model_core.calendar_features import calendar_features, calendar_of
from model_core.libraries import CPU
from model_core.models.patch_mixer import NEWEST, PATCHES_MAX, mixer_features
from model_core.models.patch_mixer_fit import NUMBERS_MAX, ROWS_MAX, Rows, fit_network
from model_core.models.ridge import Ridge
from model_core.preparation import prepare
from model_core.sight import CONTEXT_SHARE_MIN
from model_core.training.dataset import TrainingWindows, origin_chunks
from model_core.training.ridge import typical_steps

CHUNK_ROWS = 4_096


def fit_mixer(
    windows: TrainingWindows,
    ridge: dict[str, AnyArray],
    season: int,
    span: tuple[int, int],
    seed: int,
) -> dict[str, AnyArray]:
    """The network's tensors, on top of `ridge`, from the windows whose origin is in rows [first, last) of `span`."""
    return fit_network(_rows(windows, Ridge.from_tensors(ridge, CPU), season, span), season, seed)


def _rows(windows: TrainingWindows, ridge: Ridge, season: int, span: tuple[int, int]) -> Iterator[Rows]:
    spec = windows.spec
    calendar = calendar_of(spec.grid, calendar_features(spec), spec.holidays)
    wide = NEWEST + PATCHES_MAX + 3 * spec.horizon + calendar.width
    kept = max(1, min(ROWS_MAX, NUMBERS_MAX // wide))
    stride = max(1, -(-(span[1] - span[0]) * len(windows) // kept))
    steps = typical_steps(windows, season)
    decay = spec.training_decay
    for series, origins in origin_chunks(len(windows), *span, stride, CHUNK_ROWS):
        batch = windows.batch(series, origins, 1)
        targets = windows.targets(series, origins)
        usable = np.isfinite(batch.windows[:, :, 0]).mean(axis=1) >= CONTEXT_SHARE_MIN
        index = np.flatnonzero(usable & np.isfinite(targets).any(axis=1))
        if not len(index):
            continue
        prepared = prepare(batch.rows(index), calendar)
        answer = ridge(prepared.inputs)
        varied = ~prepared.constant
        scale = prepared.scale
        left = (targets[index] - prepared.center[:, None]) / scale[:, None] - answer
        features = mixer_features(prepared.inputs, answer, season)
        weight = scale / steps[series[index]] * decay ** (span[1] - origins[index])
        yield features[varied], left[varied], weight[varied]
