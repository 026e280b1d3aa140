"""Untrusted text → JSON documents, in plain steps, and how an error names them.

`NaN` and `Infinity` are not valid JSON, yet producers write them: they come as `Constant`, and the reader decides where
one is allowed.
"""

import json
import math
import re
from typing import Any

import numpy as np

NESTING_MAX = 256
WHITE = b" \t\r\n"
_DIGITS_MAX = 400  # of a whole number; float64 ends at 309


class Malformed(Exception):
    """The message as a whole cannot be used."""


class Constant(float):
    """NaN, Infinity or -Infinity, which stood in the text as a bare word."""


def parsed(value: bytes) -> tuple[Any, int]:
    """(document, how many constants are in it). Raises Malformed."""
    if nested_too_deep(value):
        raise Malformed(f"the text is nested deeper than {NESTING_MAX}")
    constants: list[Constant] = []

    def constant(word: str) -> Constant:
        constants.append(Constant(word))
        return constants[-1]

    try:
        return json.loads(value.decode(), parse_constant=constant, parse_int=_integer), len(constants)
    except UnicodeDecodeError as error:
        raise Malformed(f"the text is no UTF-8: byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"the text is no JSON: {error}") from None


def nested_too_deep(value: bytes) -> bool:
    """Whether brackets are nested deeper than NESTING_MAX: parsers give up at depths that depend on the caller's."""
    if value.count(b"[") + value.count(b"{") <= NESTING_MAX:
        return False
    brackets = np.frombuffer(_TEXTS.sub(b"", value).translate(None, _NO_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    return int(np.cumsum(steps).max(initial=0)) > NESTING_MAX


# A JSON text, or the rest after one that does not end; possessive, so that no input makes it try twice.
_TEXTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def number(value: Any) -> float | None:
    """The value as a float; None if it is not a number. A whole number beyond float64 is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def kind(value: Any) -> str:
    """An untrusted value as text, short enough for an error."""
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    names = {dict: "an object", list: "an array", type(None): "null", bool: str(value).lower()}
    return names.get(type(value)) or f"the number {str(value)[:40]}"


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS_MAX else float(digits)
