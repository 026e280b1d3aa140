"""What a person reads when the configuration is wrong: one sentence for each problem, with key, expected, found and
remedy.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from model_core.durations import DurationMs, format_duration
from stream_app.errors import TidecastError
from stream_app.settings.secrets import is_secret, redact

_PLAIN = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "string_type": "a text in quotes",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "property": "a text, a number, true or false",
}
_BOUNDS = {"greater_than_equal": "ge", "less_than_equal": "le"}
_SCALARS = ("str", "int", "float", "bool")


def configuration_error(
    model: type[BaseModel], error: ValidationError, where: str, variables: Mapping[tuple[str, ...], str]
) -> TidecastError:
    """All problems of `error` as one TidecastError; `variables` says which keys came from the environment."""
    sentences = dict.fromkeys(_sentence(model, problem, variables) for problem in error.errors(include_url=False))
    if len(sentences) == 1:
        return TidecastError(f"{where}: {next(iter(sentences))}")
    lines = "".join(f"\n  - {sentence}" for sentence in sentences)
    return TidecastError(f"{where}: {len(sentences)} problems{lines}")


def unknown_stream(name: str | None, names: list[str]) -> TidecastError:
    if not names:
        return TidecastError("streams: expected at least one [streams.NAME] with topic and freq, found none.")
    known = ", ".join(names)
    if name is None:
        return TidecastError(
            f"expected the name of a stream, because several are configured: {known}. Name one with --stream."
        )
    return TidecastError(f"expected one of the configured streams ({known}), found {name!r}.")


def _sentence(model: type[BaseModel], problem: Any, variables: Mapping[tuple[str, ...], str]) -> str:
    path = tuple(str(part) for part in problem["loc"])
    kind = problem["type"]
    if path[:1] == ("kafka",) and path[-1] in _SCALARS:  # pydantic tells of each type that a property may have
        path, kind = path[:-1], "property"
    key = _dotted(path) if path else "the configuration"
    source = next((f" (from {name})" for at, name in variables.items() if at == path[: len(at)]), "")
    found = _shown(problem.get("input"), path)
    if kind == "extra_forbidden":
        return f"{key}{source}: expected a known key, found {path[-1]!r}. {_nearest(model, path)}"
    if kind == "missing":
        return f"{key}: expected a value, found none. {_meaning(model, path)}".rstrip()
    if kind == "value_error":
        text = str(problem["ctx"]["error"]).rstrip(".")
        # A validator of a whole table already names the key: put the table in front of it.
        if not path:
            return f"{text}."
        return f"{key}{'.' if _is_table(model, path) else ': '}{text}{source}."
    expected = _PLAIN.get(kind) or _expected(problem["msg"])
    if kind in _BOUNDS and _is_duration(model, path):
        bound = format_duration(int(problem["ctx"][_BOUNDS[kind]]))
        expected = f'a duration of {bound} or {"more" if _BOUNDS[kind] == "ge" else "less"}, such as "15min"'
        found = format_duration(int(problem["input"]))  # a bare number is in milliseconds: this says so
    return f"{key}{source}: expected {expected}, found {found}. {_meaning(model, path)}".rstrip()


def _expected(message: str) -> str:
    """`Input should be greater than or equal to 1` → `greater than or equal to 1`."""
    text = message[0].lower() + message[1:]
    for lead in ("input should be ", "input should have ", "value should have ", "string should match "):
        text = text.removeprefix(lead)
    return text


def _nearest(model: type[BaseModel], path: tuple[str, ...]) -> str:
    table = _table_at(model, path[:-1])
    if table is None:
        return "Remove it."
    close = get_close_matches(path[-1], table.model_fields, 1, 0.5)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Valid keys here: {', '.join(table.model_fields)}."


def _meaning(model: type[BaseModel], path: tuple[str, ...]) -> str:
    info = _field_at(model, path)
    return f"It is: {info.description}" if info is not None and info.description else ""


def _is_table(model: type[BaseModel], path: tuple[str, ...]) -> bool:
    return bool(path) and _table_at(model, path) is not None


def _field_at(model: type[BaseModel], path: tuple[str, ...]) -> FieldInfo | None:
    for end in range(len(path), 0, -1):
        table = _table_at(model, path[: end - 1])
        if table is not None and path[end - 1] in table.model_fields:
            return table.model_fields[path[end - 1]]
    return None


def _is_duration(model: type[BaseModel], path: tuple[str, ...]) -> bool:
    info = _field_at(model, path)
    return info is not None and get_args(DurationMs)[1] in (*info.metadata, *_metadata_in(info.annotation))


def _metadata_in(annotation: Any) -> Iterator[Any]:
    """What stands beside the types in `Annotated[T, …] | None`."""
    for part in get_args(annotation):
        yield part
        yield from _metadata_in(part)


def _table_at(model: type[BaseModel], path: tuple[str, ...]) -> type[BaseModel] | None:
    """The model whose keys stand below `path`; names of streams and positions in lists are stepped over."""
    table: type[BaseModel] = model
    inside = True  # whether the next part is a key of `table`
    for part in path:
        if not inside:
            inside = True
            continue
        info = table.model_fields.get(part)
        if info is None:
            return None
        nested = _model_in(info.annotation)
        if nested is None:
            return None
        table, inside = nested, info.annotation is nested
    return table if inside else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in `M`, `dict[str, M]` or `tuple[M, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(f'"{part}"' if "." in part else part for part in path)


def _shown(value: Any, path: tuple[str, ...]) -> str:
    secret = next((part for part in path if is_secret(part)), "")
    text = repr(redact(value, secret))
    return text if len(text) <= 80 else text[:77] + "…"
