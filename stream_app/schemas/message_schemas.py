"""The published messages as pydantic models: the contract with everyone who consumes them.

`tidecast schema` prints their JSON Schemas. The encoders in messages.py write the bytes without these models; a test
checks what is really published against them. Times are RFC 3339 UTC; `origin` and `target` are the start of their tick.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

SCHEMA_VERSION = 1
Number = float | None  # null where it is not known


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1]
    stream: str = Field(description="Name of the stream in the configuration.")


class Input(BaseModel):
    """The reading that caused a message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: int
    offset: int = Field(description="-1 when no reading caused it, but the passing of time.")


class ForecastMessage(Message):
    """One forecast of one series. Key: series_id. A null value: the series was deleted."""

    series_id: str
    origin: AwareDatetime = Field(description="The last tick that the forecast saw; its first target is the next one.")
    step_ms: int
    horizon: int
    quantile_levels: list[float]
    quantiles: list[list[Number]] = Field(description="One list a level, each of `horizon` values.")
    point: list[Number] = Field(description="The median.")
    mean: list[Number] | None = Field(None, description="Only for demand (aggregate sum or count): it adds up.")
    model: str = Field(description="What answered: the model's name, or the rung of the ladder.")
    model_version: str | None = Field(description="Of the model; null when a rung below it answered.")
    status: Literal["ok", "fallback"]
    reason: str | None = Field(description="Why the model did not answer, or rebuilt: its state was lost. Else null.")
    revision: int = Field(ge=0, description="0, then one more for each correction of the same origin.")
    issued_at: AwareDatetime
    observed_share: float = Field(ge=0, le=1, description="Share of the context that was observed.")
    input: Input


class ScoredHorizon(BaseModel):
    """How one step of a forecast turned out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    horizon: int
    target: AwareDatetime
    actual: Number = Field(description="null: the cell stayed empty and nothing is scored.")
    error: Number = Field(description="actual − point")
    pinball: Number = Field(description="Mean over the quantile levels.")
    covered: list[bool | None] = Field(description="Whether each of `intervals` held the actual value.")
    baselines: dict[Literal["seasonal_naive", "last_value"], Number] = Field(description="Their pinball.")


class _Running(Message):
    series_id: str
    intervals: list[float] = Field(description="Nominal coverage of the central intervals, widest first.")
    mase: Number = Field(description="Running mean absolute scaled error of the point.")
    coverage: list[Number] = Field(description="Running coverage, one an interval.")
    skill: Number = Field(description="1 − pinball / that of the better of both naive forecasts, running.")
    input: Input


class AccuracyRecord(_Running):
    """One forecast, when its last scored target has settled. Key: series_id."""

    kind: Literal["record"]
    origin: AwareDatetime
    horizons: list[ScoredHorizon]


class AccuracySummary(_Running):
    """How good the forecasts of one series are at present. Key: series_id."""

    kind: Literal["summary"]
    at: AwareDatetime = Field(description="Start of the newest settled tick.")
    pinball: Number
    scored: int = Field(ge=0, description="Scored forecasts so far.")


AccuracyMessage = Annotated[AccuracyRecord | AccuracySummary, Field(discriminator="kind")]


class DriftMessage(Message):
    """A detector changed its state, or a line of a regular report. Key: series_id, or group/detector."""

    series_id: str | None
    group: str | None = Field(description="Whom it is about when not one series.")
    detector: str
    statistic: Number
    threshold: Number
    state: Literal["ok", "warning", "drift"]
    scale: Number = Field(None, description="Of a series: size of its errors of late over their usual size.")
    bias: Number = Field(None, description="Of a series: mean of its errors of late over their size.")
    since: AwareDatetime
    at: AwareDatetime
    input: Input


class JournalMessage(Message):
    """A decision that is not a function of the input, so that a replay can follow it. For the workers themselves."""

    partition: int
    next_offset: int = Field(description="First offset that was not yet in the state.")
    decision: dict[str, Any] = Field(description="`number`, `kind`, and what belongs to that kind.")


class _Control(Message):
    """Workers to the trainer. Key: the group, which is a partition of the input."""

    group: str
    since: AwareDatetime
    at: AwareDatetime
    input: Input


class RetrainRequest(_Control):
    """Many series of a partition drift at once: one request a storm. The trainer answers the newest."""

    kind: Literal["retrain"]
    detector: str
    statistic: Number
    threshold: Number


class ShadowScore(_Control):
    """How the candidate would have done where the model in charge answered, on values that came later.

    Pinball in units of each series' usual step, mean over the scored cells of the ticks from `since` to `at`.
    """

    kind: Literal["shadow"]
    candidate: str = Field(description="Version that ran in the shadow.")
    champion: str | None = Field(description="Version in charge; null: none, naive forecasts answered.")
    series: int = Field(ge=0, description="Series that the candidate forecasts beside the champion.")
    scored: int = Field(ge=1, description="Cells that had forecasts of both.")
    candidate_pinball: float
    champion_pinball: float


ControlMessage = Annotated[RetrainRequest | ShadowScore, Field(discriminator="kind")]

# Output → the type of its values; dead letters keep the bytes of the input.
MESSAGES: dict[str, Any] = {
    "forecasts": ForecastMessage,
    "accuracy": AccuracyMessage,
    "drift": DriftMessage,
    "journal": JournalMessage,
    "control": ControlMessage,
}


def json_schema(output: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an output's values."""
    body = TypeAdapter(MESSAGES[output]).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"tidecast {output}", **body}
