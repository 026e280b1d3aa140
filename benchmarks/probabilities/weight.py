"""Bytes of state that a series has, by part."""

from __future__ import annotations

from model_core.calibration import calibration_fields
from model_core.columns import BLOCK, Field
from model_core.corrector import corrector_fields
from model_core.drift.watch import drift_fields
from model_core.ladder import LADDER_FIELDS
from model_core.ledger import ledger_fields
from model_core.partition import PartitionState
from model_core.scaler import FIELDS as SCALER_FIELDS
from model_core.scoring import scoring_fields
from model_core.spec import StreamSpec
from model_core.windows import window_fields


def bytes_by_part(spec: StreamSpec) -> dict[str, float]:
    parts: dict[str, tuple[Field, ...]] = {
        "window": tuple(field for field in window_fields(spec) if field.name == "ring"),
        "open cells, settings, counters": tuple(field for field in window_fields(spec) if field.name != "ring"),
        "scaler": SCALER_FIELDS,
        "issued quantiles that wait": ledger_fields(spec),
        "calibration": calibration_fields(spec),
        "corrector": corrector_fields(spec),
        "scores": scoring_fields(spec),
        "ladder": LADDER_FIELDS,
        "drift": drift_fields(len(spec.quantile_levels)),
    }
    weights = {name: sum(map(_bytes, fields)) for name, fields in parts.items()}
    rest = sum(map(_bytes, PartitionState(spec, 0).columns.fields.values())) - sum(weights.values())
    assert abs(rest) < 1e-9, f"{rest} bytes a series belong to no part"
    return weights


def _bytes(field: Field) -> float:
    return field.rows * field.row_bytes / BLOCK
