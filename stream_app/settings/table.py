"""The settings as rows of a table: what `tidecast config show` prints and docs/CONFIGURATION.md is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from model_core.spec import StreamSpec
from stream_app.settings import Settings
from stream_app.settings.secrets import redact

_NEEDED: dict[str, str] = {"topic": "NAME", "freq": "1s"}


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
                description=info.description or "",
                change=_change(info),
            )


def _nested(info: FieldInfo) -> type[BaseModel] | None:
    annotation = info.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _change(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    assert isinstance(extra, dict), "every field is made by setting()"
    return str(extra["change"])


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """The default of each field, as in JSON; fields that must be given are absent."""
    needed = {name: _NEEDED[name] for name, info in model.model_fields.items() if info.is_required()}
    values = model(**needed).model_dump(mode="json")
    return {name: value for name, value in values.items() if name not in needed}


def configuration_document() -> str:
    """docs/CONFIGURATION.md."""
    example = Settings(streams={"NAME": StreamSpec.model_validate(_NEEDED)})
    sections: dict[str, list[Row]] = {}
    for row in rows(example):
        section = row.key.rpartition(".")[0]
        sections.setdefault(section, []).append(row)
    lines = [
        "# Configuration",
        "",
        "One TOML file. Environment variables go before it: `TIDECAST__KAFKA__BOOTSTRAP_SERVERS` sets",
        "`kafka.bootstrap_servers`; a name that ends in `_FILE` names a file that holds the value, for secrets",
        "(`TIDECAST__REDIS__URL_FILE`, `TIDECAST__KAFKA__CLIENT__SASL_PASSWORD_FILE`). Lists and tables are written as",
        "JSON there. An unknown key is an error that names the nearest valid one. `tidecast config check FILE` says",
        "what is wrong, `tidecast config show FILE` what is in force.",
        "",
        "What changing a setting means: **restart**: picked up when the worker restarts; **rebuild**: the state is",
        "built anew from the log; **new stream**: the outputs change their meaning, so use a new `application_id` and",
        "output prefix.",
        "",
        "Durations are texts such as `500ms`, `10min`, `1d`.",
        "",
        "This page is made from stream_app/settings and model_core/spec.py by `python -m stream_app.documents`.",
    ]
    for section, members in sections.items():
        lines += ["", f"## {f'[{section}]' if section else 'Top level'}", ""]
        lines += ["| key | default | what it means | changing it |", "|---|---|---|---|"]
        for row in members:
            name = row.key.rpartition(".")[2]
            required = section == "streams.NAME" and name in _NEEDED
            default = "required" if required else f"`{_toml(row.default)}`" if row.default is not None else "unset"
            lines.append(f"| `{name}` | {default} | {row.description} | {row.change} |")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)
