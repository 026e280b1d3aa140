"""The settings as rows of a table: what `tidecast config show` prints and docs/CONFIGURATION.md is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from model_core.spec import Override, StreamSpec
from stream_app.settings import Settings
from stream_app.settings.secrets import redact

# What must be given: of a stream, and of an override.
_NEEDED: dict[str, str] = {"topic": "NAME", "freq": "1s", "match": "*"}
_OVERRIDES = "streams.NAME.overrides"


@dataclass(frozen=True)
class Row:
    """One key. `value` and `default` as they stand in JSON; `default` is None where there is none."""

    key: str
    value: Any
    default: Any
    is_default: bool
    description: str
    change: str


def rows(settings: Settings) -> list[Row]:
    """Every key of a configuration, its secrets redacted."""
    return list(_rows("", Settings, settings.model_dump(mode="json"), _defaults(Settings)))


def _rows(prefix: str, model: type[BaseModel], values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[Row]:
    for name, info in model.model_fields.items():
        value, nested = values[name], _nested(info)
        if name == "streams":
            for stream, spec in value.items():
                yield from _rows(f"streams.{stream}.", StreamSpec, spec, _defaults(StreamSpec))
        elif nested is not None:
            yield from _rows(f"{prefix}{name}.", nested, value, _defaults(nested))
        else:
            default = defaults.get(name)
            yield Row(
                key=prefix + name,
                value=redact(value, name),
                default=default,
                is_default=name in defaults and value == default,
                description=_described(info),
                change=_change(info),
            )


def _described(info: FieldInfo) -> str:
    """What a setting means, with the values it may have where they are few and the text does not name them."""
    text, choices = info.description or "", _choices(info.annotation)
    if not choices or all(choice in text for choice in choices):
        return text
    return f"{text} Values: {', '.join(choices)}."


def _choices(annotation: Any) -> list[str]:
    """The values of the Literal in an annotation, however deep; empty if there is none."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _nested(info: FieldInfo) -> type[BaseModel] | None:
    annotation = info.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _change(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    assert isinstance(extra, dict), "every field is made by setting()"
    return str(extra["change"])


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """The default of each field, as in JSON; fields that must be given are absent."""
    needed = _needed(model)
    values = model(**needed).model_dump(mode="json")
    return {name: value for name, value in values.items() if name not in needed}


def _needed(model: type[BaseModel]) -> dict[str, Any]:
    """An example of each field that must be given."""
    return {name: _NEEDED[name] for name, info in model.model_fields.items() if info.is_required()}


def configuration_document() -> str:
    """docs/CONFIGURATION.md."""
    example = Settings(streams={"NAME": StreamSpec.model_validate(_needed(StreamSpec))})
    sections: dict[str, list[Row]] = {}
    for row in rows(example):
        section = row.key.rpartition(".")[0]
        sections.setdefault(section, []).append(row)
    override = Override(**_needed(Override)).model_dump(mode="json")
    sections[_OVERRIDES] = list(_rows(f"{_OVERRIDES}.", Override, override, _defaults(Override)))
    lines = [
        "# Configuration",
        "",
        "One TOML file. Environment variables override it: `TIDECAST__KAFKA__BOOTSTRAP_SERVERS` sets",
        "`kafka.bootstrap_servers`. A variable whose name ends in `_FILE` names a file that holds the value, for",
        "secrets (`TIDECAST__REDIS__URL_FILE`, `TIDECAST__KAFKA__CLIENT__SASL_PASSWORD_FILE`). In variables, lists and",
        "tables are written as JSON. An unknown key is an error that names the nearest valid one. `tidecast config",
        "check FILE` says what is wrong, `tidecast config show FILE` lists what is in force.",
        "",
        "What changing a setting means: **restart**: it takes effect when the worker restarts; **rebuild**: the state",
        "is rebuilt from the log; **new stream**: the outputs change their meaning, so use a new `application_id` and",
        "output prefix.",
        "",
        "Durations are texts such as `500ms`, `10min`, `1d`.",
        "",
        "This page is made from stream_app/settings and model_core/spec.py by `python -m stream_app.documents`.",
    ]
    for section, members in sections.items():
        lines += ["", f"## {_heading(section)}", ""]
        lines += ["| key | default | what it means | changing it |", "|---|---|---|---|"]
        for row in members:
            name = row.key.rpartition(".")[2]
            required = name in _NEEDED
            default = "required" if required else f"`{_toml(row.default)}`" if row.default is not None else "unset"
            lines.append(f"| `{name}` | {default} | {row.description} | {row.change} |")
    return "\n".join(lines) + "\n"


def _heading(section: str) -> str:
    """As it stands in the file: `overrides` is a list of tables."""
    return f"[[{section}]]" if section == _OVERRIDES else f"[{section}]" if section else "Top level"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)
