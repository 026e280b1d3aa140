"""Where settings come from: the text of a TOML file, and the variables of an environment that is passed in.

Neither checks meaning. Unknown names are passed on and refused by the model, which knows the valid ones.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stream_app.errors import TidecastError

PREFIX = "TIDECAST__"
_VERBATIM_SECTIONS = (("kafka", "client"), ("kafka", "consumer"), ("kafka", "producer"))
_FREE_KEYS = ("properties_file",)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file. TidecastError when it is not there or not TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise TidecastError(
            f"{path}: expected a configuration file, found none. Name one with --config FILE."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TidecastError(f"{path}: expected a readable UTF-8 file: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise TidecastError(f"{path}: expected TOML: {error}. Strings want quotes, tables [brackets].") from None


def overlay_environment(
    values: dict[str, Any], environ: Mapping[str, str], model: type[BaseModel]
) -> dict[tuple[str, ...], str]:
    """Put TIDECAST__… variables into `values`. Returns key path → variable name, for error texts."""
    origin: dict[tuple[str, ...], str] = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        text, path = environ[variable], _key_path(variable, values)
        if path[-1].endswith("_file") and path[-1] not in _FREE_KEYS:
            path, text = (*path[:-1], path[-1].removesuffix("_file")), _secret(variable, text)
        if path[:2] in _VERBATIM_SECTIONS and len(path) == 3:
            path = (*path[:2], path[2].replace("_", "."))
        table = values
        for key in path[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise TidecastError(f"{variable}: expected {key} to be a table, found a value. Remove the variable.")
        table[path[-1]] = _parsed(text)
        origin[path] = variable
    return origin


def _key_path(variable: str, values: dict[str, Any]) -> tuple[str, ...]:
    """TIDECAST__STREAMS__PUMP_ROOM__FREQ → (streams, pump-room, freq) where the file calls a stream `pump-room`."""
    path = variable.removeprefix(PREFIX).lower().split("__")
    if not all(path):
        raise TidecastError(f"{variable}: expected names joined by two underscores, such as {PREFIX}KAFKA__CLIENT.")
    if path[0] == "streams" and len(path) > 1 and isinstance(values.get("streams"), dict):
        names = {re.sub(r"[^a-z0-9]", "_", name.lower()): name for name in values["streams"]}
        path[1] = names.get(path[1], path[1])
    return tuple(path)


def _secret(variable: str, file: str) -> str:
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        # Neither the value nor the error, which quotes it: the secret itself stands there by mistake.
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise TidecastError(
            f"{variable}: expected the path of a readable file, found none ({reason}). The file holds the secret, the "
            "variable holds its path."
        ) from None


def _parsed(text: str) -> Any:
    """Lists and tables are written as JSON; everything else stays text, which the model converts."""
    if text[:1] in "[{" and text:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
