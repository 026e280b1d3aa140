"""A documented setting: a field of a configuration with its explanation, and what changing its value means.

`change` is one of `restart` (it takes effect on restart), `rebuild` (the state in Redis is rebuilt from the log), and
`new stream` (outputs change their meaning: use a new application_id and output prefix).
"""

from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


def setting(
    default: Any,
    change: Literal["restart", "rebuild", "new stream"],
    text: str,
    *,
    since: int | None = None,
    **bounds: Any,
) -> Any:
    """A documented field: `text` is printed by `tidecast config show`, with what changing the value means.

    `since`: the layout of the state that the setting came with. While it has its default, which means what was always
    so before, the fingerprint stays the same, and older states are continued.
    """
    extra: dict[str, Any] = {"change": change} | ({} if since is None else {"since": since})
    return Field(default, description=text, json_schema_extra=extra, **bounds)


class Strict(BaseModel):
    """A frozen table of settings: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, ignored_types=(cached_property,))


def extra_of(model: BaseModel, name: str) -> dict[str, Any]:
    """`change`, and perhaps `since`, of a field."""
    extra = type(model).model_fields[name].json_schema_extra
    assert isinstance(extra, dict), "every field is made by setting()"
    return extra


def leave_out_unused_additions(model: BaseModel, values: dict[str, Any]) -> None:
    """Take settings that came later (`since`) and have their defaults out of `values`, the JSON of the model."""
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if "since" in extra_of(model, name) and value == info.get_default(call_default_factory=True):
            del values[name]
            continue
        inner = value if isinstance(value, tuple) else (value,)
        shown = values[name] if isinstance(value, tuple) else [values[name]]
        for each, dumped in zip(inner, shown, strict=True):
            if isinstance(each, BaseModel):
                leave_out_unused_additions(each, dumped)
