"""A finding: what was examined, whether it is fine, a warning or an error, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from stream_app.settings.secrets import hidden


class Severity(IntEnum):
    """The exit code of the command is the worst severity found."""

    OK = 0
    WARNING = 1  # it works, and will not always
    ERROR = 2  # a worker would refuse, lose its state or stand still


@dataclass(frozen=True)
class Finding:
    """`look` is one of a few names that scripts may rely on. `remedy` is empty if all is well."""

    look: str
    about: str
    severity: Severity
    found: str
    remedy: str = ""


Findings = Iterator[Finding]


def ok(look: str, about: str, found: str) -> Finding:
    return Finding(look, about, Severity.OK, hidden(found))


def warning(look: str, about: str, found: str, remedy: str) -> Finding:
    return Finding(look, about, Severity.WARNING, hidden(found), remedy)


def error(look: str, about: str, found: str, remedy: str) -> Finding:
    return Finding(look, about, Severity.ERROR, hidden(found), remedy)
