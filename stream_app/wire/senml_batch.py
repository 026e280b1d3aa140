"""Many SenML packs at once, with exactly the result of senml_pack.py; None where it must be used instead.

Base fields are carried forward as columns: the position of the last record that set one, and never beyond the pack.
"""

from collections.abc import Callable
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from model_core.arrays import BoolArray, FloatArray, IntArray
from stream_app.wire.columns import PollColumns
from stream_app.wire.json_batch import Unusual, proven_lines
from stream_app.wire.senml_pack import RELATIVE_BELOW_S, VERSION_MAX
from stream_app.wire.series_ids import fault_of
from stream_app.wire.timestamps import scale_floats


class _Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record of numbers. Other values, and fields that are not in the RFC, take the plain steps."""

    bn: str | UnsetType = UNSET
    bt: float | UnsetType = UNSET
    bv: float | UnsetType = UNSET
    bu: Any = UNSET
    bs: Any = UNSET
    bver: int | UnsetType = UNSET
    n: str | UnsetType = UNSET
    t: float | UnsetType = UNSET
    v: float | UnsetType = UNSET
    u: Any = UNSET
    s: Any = UNSET
    ut: Any = UNSET


_decode_lines = msgspec.json.Decoder(list[_Record]).decode_lines


def decode_packs(lines: bytes, lengths: IntArray, record_ms: Callable[[], IntArray]) -> PollColumns | None:
    """Readings of m packs with a newline between each two, or None when any of them needs a closer look.

    `lengths` of the packs, int64 [m].
    """
    try:
        proven, _ = proven_lines(lines, lengths)
        packs = _decode_lines(proven)
        return _columns(packs, record_ms) if len(packs) == len(lengths) else None
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError, Unusual):
        return None


# Records are Any where UNSET is looked for: msgspec declares it in a way that mypy cannot compare with.
def _columns(packs: list[list[Any]], record_ms: Callable[[], IntArray]) -> PollColumns:
    sizes = np.fromiter(map(len, packs), np.int64, len(packs))
    records = list(chain.from_iterable(packs))
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)  # int64 [n], the first record of each one's pack
    messages = np.repeat(np.arange(len(packs)), sizes)
    if any(version is not UNSET and version > VERSION_MAX for version in _all("bver", records)):
        raise Unusual
    values, is_reading = _numbers("v", records)
    names = _names(packs)
    series_ids, times_s = np.array(names, object), _carried("bt", records, starts)
    offsets_s, has_time = _numbers("t", records)
    with np.errstate(over="ignore"):  # what is too large is looked at one by one
        values = values + _carried("bv", records, starts)
        times_s = times_s + np.where(has_time, offsets_s, 0.0)
    if not is_reading.all():
        rest = [records[index] for index in np.flatnonzero(~is_reading).tolist()]
        if any(not (one.n is UNSET and one.t is UNSET and one.s is UNSET) for one in rest):
            raise Unusual  # more than bases, and no value
    kept = np.flatnonzero(is_reading)
    if not (np.isfinite(values[kept]).all() and np.isfinite(times_s[kept]).all()):
        raise Unusual
    ids = series_ids[kept]
    if any(map(fault_of, set(ids.tolist()))):  # an empty one may mean the message key
        raise Unusual
    since = np.where(times_s < RELATIVE_BELOW_S, record_ms()[messages], 0)
    positions = np.arange(len(records)) - starts
    times = since + scale_floats(times_s, "s")
    return PollColumns(ids, times[kept], values[kept], messages[kept], positions[kept])


def _all(field: str, records: list[Any]) -> list[Any]:
    return list(map(attrgetter(field), records))


def _numbers(field: str, records: list[Any]) -> tuple[FloatArray, BoolArray]:
    """(float64 [n], 0 where there is none; bool [n], whether there is one)"""
    found = _all(field, records)
    if UNSET not in found:
        return np.array(found, np.float64), np.ones(len(found), bool)
    there = np.array([each is not UNSET for each in found], bool)
    return np.array([0.0 if each is UNSET else each for each in found], np.float64), there


def _carried(field: str, records: list[Any], starts: IntArray) -> FloatArray:
    """float64 [n]: the base that holds for each record, 0 where its pack has set none so far."""
    numbers, there = _numbers(field, records)
    if not there.any():
        return numbers
    last = np.maximum.accumulate(np.where(there, np.arange(len(records)), -1))
    return np.where(last >= starts, numbers[np.maximum(last, 0)], 0.0)


def _names(packs: list[list[Any]]) -> list[str]:
    """bn + n of each record."""
    names: list[str] = []
    for pack in packs:
        base = ""
        for record in pack:
            if record.bn is not UNSET:
                base = record.bn
            names.append(base if record.n is UNSET else base + record.n)
    return names
