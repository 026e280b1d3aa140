"""A history as bytes: the newest cells, the sums of what was before them, and the cells that are still open.

Bytes only, as bundles are: safetensors, numbers without code. Reading them tells whether they belong to this stream as
it is configured now; if not, the history begins again.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as tensors_to_bytes

from model_core.arrays import AnyArray
from model_core.errors import LayoutMismatch
from model_core.sight import CONTEXT_SHARE_MIN
from model_core.spec import StreamSpec
from model_core.training.history import CellHistory, HistoryFeed
from model_core.training.past import Past
from model_core.training.ridge import TARGET_CLIP

LAYOUT = 1  # of the bytes, and of what a window's columns mean (models/ridge.py)
_META, _CELLS, _SCALER, _PAST, _FEED = "meta", "cells", "scaler", "past/", "feed/"


@dataclass(frozen=True)
class Kept:
    """What was read. `told`: why its sums are not taken over, if they are not; `beside`: what the writer added."""

    history: CellHistory
    feed: HistoryFeed
    beside: dict[str, Any]
    told: str | None


def to_bytes(spec: StreamSpec, history: CellHistory, feed: HistoryFeed, beside: dict[str, Any]) -> bytes:
    """`beside`: JSON values that are to come back."""
    open_cells, arrays = feed.snapshot()
    tensors = {f"{_FEED}{name}": array for name, array in arrays.items()} | {_CELLS: history.values()}
    if history.scaler is not None:
        tensors[_SCALER] = history.scaler
    past = history.past
    if past is not None:
        tensors |= {f"{_PAST}{name}": array for name, array in past.arrays().items()}
    meta = {
        "layout": LAYOUT,
        "stream": spec.fingerprint(),
        "features": _features(spec),
        "series": history.series_ids,
        "first_tick": history.first_tick,
        "kept_from": history.kept_from,
        "past": past and [past.first, past.until],
        "feed": open_cells,
        "beside": beside,
    }
    tensors[_META] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    return bytes(tensors_to_bytes({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def from_bytes(spec: StreamSpec, content: bytes) -> Kept:
    """LayoutMismatch where they are not of this stream, or not whole: the sentence says what was expected."""
    try:
        tensors = tensors_from_bytes(content)
        meta = json.loads(tensors.pop(_META).tobytes())
        if meta["layout"] != LAYOUT:
            raise LayoutMismatch(f"expected layout {LAYOUT} of the history that was kept, found {meta['layout']}")
        if meta["stream"] != spec.fingerprint():
            raise LayoutMismatch("the stream's configuration has changed since the history was kept")
        history = CellHistory.of_values(meta["series"], meta["first_tick"], tensors[_CELLS], meta["kept_from"])
        history.scaler = tensors.get(_SCALER)
        told = None
        if meta["past"] and meta["features"] != _features(spec):
            told = "calendar, holidays or training_half_life have changed since they were kept"
        elif meta["past"]:
            history.past = Past.of_arrays(_under(_PAST, tensors), *meta["past"])
        feed = HistoryFeed(spec, history)
        feed.restore(meta["feed"], _under(_FEED, tensors))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise LayoutMismatch(f"the history that was kept cannot be read: {error}") from error
    return Kept(history, feed, meta["beside"], told)


def _under(prefix: str, tensors: dict[str, AnyArray]) -> dict[str, AnyArray]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _features(spec: StreamSpec) -> str:
    """Identity of what is summed of a window, beyond the stream's own: which restarts may change."""
    named = [spec.calendar, spec.holidays, spec.training_half_life, TARGET_CLIP, CONTEXT_SHARE_MIN]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]
