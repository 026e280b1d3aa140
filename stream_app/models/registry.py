"""Models on a folder or an object store: versions that never change, and names that point at them.

    REGISTRY/<stream>/versions/<version>/{model.safetensors,report.json,manifest.json}
    REGISTRY/<stream>/aliases/{champion,candidate,previous}.json
    REGISTRY/<stream>/attempts/<version>.json
    REGISTRY/<stream>/training/history.safetensors

The manifest is written last: a version without one does not exist yet. An alias is replaced in one step: on a file
system by a rename, on an object store by the upload itself; so is what a trainer keeps. Nothing is ever deleted here:
journals name old versions, and attempts at taking charge count for as long as their data is looked at again.
"""

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from model_core.bundle import MANIFEST_FILE, TENSORS_FILE, Bundle, Manifest
from model_core.errors import CorruptBundle, MissingBundle
from model_core.gate.attempt import Attempt
from stream_app.errors import TidecastError
from stream_app.settings.secrets import redact

Alias = Literal["champion", "candidate", "previous"]
ALIASES: tuple[Alias, ...] = ("champion", "candidate", "previous")
REPORT_FILE = "report.json"
# Names become parts of paths: nothing that could lead elsewhere.
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\Z")


class AmbiguousVersion(TidecastError):
    """A version exists already, or does not exist."""


@dataclass(frozen=True)
class Listed:
    """One version as `tidecast models list` shows it. `problem`: why it cannot be read, None when it can."""

    version: str
    aliases: tuple[Alias, ...]
    manifest: Manifest | None
    report: Mapping[str, Any]
    problem: str | None = None


class ModelRegistry:
    """`address` is a folder or any fsspec address (s3://…, gs://…, abfs://…)."""

    def __init__(self, address: str) -> None:
        import fsspec

        self.address = redact(address)  # as it is named in sentences
        try:
            self._fs, self._root = fsspec.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise TidecastError(
                f"models.registry = {self.address!r} cannot be opened: {error}. Use a folder, or install the package "
                "for that kind of store."
            ) from error
        except OSError as error:  # some stores are connected to at once
            raise TidecastError(
                f"models.registry = {self.address!r} cannot be reached: {error}. Is it there, and does it let us in?"
            ) from error
        self._local = "file" in _protocols(self._fs)
        self._attempts: dict[str, Attempt] = {}  # path → what was read there: they never change

    # --- reading ----------------------------------------------------------------------------------------------------

    def champion(self, stream: str) -> str | None:
        """The version in charge, None before any was promoted. It costs one small read, so it can be asked often."""
        return self.alias(stream, "champion")

    def alias(self, stream: str, name: Alias) -> str | None:
        """CorruptBundle when the alias cannot be understood."""
        path = self._alias_path(stream, name)
        content = self._read(path)
        if content is None:
            return None
        try:
            version = json.loads(content)["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptBundle(
                f'{path}: expected {{"version": …}}, found {content[:80]!r}; name a version anew with '
                "`tidecast models promote`"
            ) from error
        return _checked(version, "version")

    def resolve(self, stream: str, named: str) -> str:
        """The version that an alias names, or the version itself. TidecastError for an alias that names none."""
        for alias in ALIASES:
            if named == alias:
                found = self.alias(stream, alias)
                if found is None and alias == "champion" and self.alias(stream, "candidate") is not None:
                    raise TidecastError(
                        f"Stream {stream} has no champion: what was trained last did not take charge. `tidecast models "
                        "report` says why, `tidecast models promote candidate` takes it all the same."
                    )
                if found is None:
                    raise TidecastError(f"Stream {stream} has no {alias} yet: tidecast train --stream {stream}")
                return found
        return named

    def load(self, stream: str, version: str) -> Bundle:
        """CorruptBundle when a file is missing or not what the manifest says."""
        files = {}
        for name in (MANIFEST_FILE, TENSORS_FILE):
            content = self._read(f"{self._version_path(stream, version)}/{name}")
            if content is not None:
                files[name] = content
        if not files:
            raise MissingBundle(f"no model {version} of stream {stream} in {self.address}; see `tidecast models list`")
        bundle = Bundle.from_files(files)
        if bundle.manifest.version != version:
            raise CorruptBundle(f"model {version} of stream {stream} says that it is {bundle.manifest.version}")
        return bundle

    def report(self, stream: str, version: str) -> dict[str, Any]:
        """The report of its training; empty if there is none."""
        content = self._read(f"{self._version_path(stream, version)}/{REPORT_FILE}")
        return {} if content is None else dict(json.loads(content))

    def kept_history(self, stream: str) -> bytes | None:
        """What `keep_history` wrote; None before it did."""
        return self._read(self._history_path(stream))

    def attempts(self, stream: str) -> list[Attempt]:
        """Every candidate that was judged, oldest first. CorruptBundle when one cannot be understood."""
        found = []
        for name in self._names(stream, "attempts"):
            path = f"{self._root}/{stream}/attempts/{name}"
            try:
                if path not in self._attempts:
                    self._attempts[path] = Attempt(**json.loads(self._read(path) or b""))
            except (ValueError, TypeError) as error:
                raise CorruptBundle(f"{path}: expected an attempt at taking charge, found {error}") from error
            found.append(self._attempts[path])
        return found

    def versions(self, stream: str) -> list[Listed]:
        """All versions, oldest first."""
        names = self._names(stream, "versions")
        pointing = {name: self.alias(stream, name) for name in ALIASES}
        return [
            self._listed(stream, name, tuple(alias for alias in ALIASES if pointing[alias] == name))
            for name in names
            if _NAME.match(name)
        ]

    def _names(self, stream: str, kind: str) -> list[str]:
        folder = f"{self._root}/{_checked(stream, 'stream')}/{kind}"
        self._fs.invalidate_cache()
        try:
            return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(folder, detail=False))
        except FileNotFoundError:
            return []

    def _listed(self, stream: str, version: str, aliases: tuple[Alias, ...]) -> Listed:
        content = self._read(f"{self._version_path(stream, version)}/{MANIFEST_FILE}")
        if content is None:
            return Listed(version, aliases, None, {}, "incomplete: it has no manifest")
        try:
            return Listed(version, aliases, Manifest.model_validate_json(content), self.report(stream, version))
        except ValueError as error:
            return Listed(version, aliases, None, {}, f"unreadable: {str(error).splitlines()[0]}")

    # --- writing ----------------------------------------------------------------------------------------------------

    def require_writable(self, stream: str) -> None:
        """Raise TidecastError if the registry is a folder that cannot be written: before minutes of work for it."""
        if not self._local:
            return
        wanted = Path(self._root) / _checked(stream, "stream")
        try:
            there = next(each for each in (wanted, *wanted.parents) if each.exists())
            found = None if os.access(there, os.W_OK | os.X_OK) else f"no right to write to {there}"
            found = found if there.is_dir() else f"{there}, which is a file"
        except OSError as error:
            found = f"{error.filename}: {error.strerror}"
        if found is not None:
            raise TidecastError(
                f"models.registry = {self.address!r}: expected a folder that this user may write, found {found}. Give "
                "it the right, or name another folder."
            )

    def publish(self, stream: str, bundle: Bundle, report: Mapping[str, Any]) -> str:
        """Write a new version and name it the candidate. A version that exists is never written again."""
        version = bundle.manifest.version
        folder = self._version_path(stream, version)
        if self._read(f"{folder}/{MANIFEST_FILE}") is not None:
            raise AmbiguousVersion(f"model {version} of stream {stream} exists already in {self.address}: train again")
        files = bundle.to_files()
        self._write(f"{folder}/{TENSORS_FILE}", files[TENSORS_FILE])
        self._write(f"{folder}/{REPORT_FILE}", _json(report))
        self._write(f"{folder}/{MANIFEST_FILE}", files[MANIFEST_FILE])
        self._point(stream, "candidate", version)
        return version

    def record(self, stream: str, attempt: Attempt) -> None:
        """Record a judged candidate, whatever the verdict: each look at the same data makes the next harder."""
        folder = f"{self._root}/{_checked(stream, 'stream')}/attempts"
        self._write(f"{folder}/{_checked(attempt.version, 'version')}.json", _json(asdict(attempt)))

    def promote(self, stream: str, version: str) -> None:
        """The version takes charge, the one before becomes `previous`. It is read whole first: a bad one stays out."""
        self.load(stream, version)
        before = self.champion(stream)
        if before == version:
            return
        if before is not None:
            self._point(stream, "previous", before)
        self._point(stream, "champion", version)

    def rollback(self, stream: str) -> str:
        """`previous` takes charge again. Returns its version."""
        version = self.alias(stream, "previous")
        if version is None:
            raise AmbiguousVersion(
                f"stream {stream} has no previous model to go back to; see `tidecast models list` and "
                "`tidecast models promote`"
            )
        self.promote(stream, version)
        return version

    def keep_history(self, stream: str, content: bytes) -> None:
        """Keep what a trainer goes on from after a restart (kept_history.py), instead of what was kept before."""
        self._write(self._history_path(stream), content)

    def _point(self, stream: str, alias: Alias, version: str) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._write(self._alias_path(stream, alias), _json({"version": version, "since": since}))

    # --- the store --------------------------------------------------------------------------------------------------

    def _version_path(self, stream: str, version: str) -> str:
        return f"{self._root}/{_checked(stream, 'stream')}/versions/{_checked(version, 'version')}"

    def _history_path(self, stream: str) -> str:
        return f"{self._root}/{_checked(stream, 'stream')}/training/history.safetensors"

    def _alias_path(self, stream: str, alias: Alias) -> str:
        return f"{self._root}/{_checked(stream, 'stream')}/aliases/{alias}.json"

    def _read(self, path: str) -> bytes | None:
        try:
            return bytes(self._fs.cat_file(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:  # of an object store as well
            raise TidecastError(
                f"models.registry = {self.address!r}: expected to read {path}, found no right to. Give it to this user."
            ) from error

    def _write(self, path: str, content: bytes) -> None:
        """Write a file so that a reader sees either the old content or the new."""
        if not self._local:
            self._fs.pipe_file(path, content)
            return
        self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        temporary = f"{path}.{secrets.token_hex(6)}.tmp"
        self._fs.pipe_file(temporary, content)
        self._fs.mv(temporary, path)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _checked(name: object, what: str) -> str:
    if not isinstance(name, str) or not _NAME.match(name):
        raise CorruptBundle(f"{what} {name!r}: expected letters, digits, dots, dashes and underscores")
    return name


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False).encode()


def finite(value: Any) -> Any:
    """The value with null for NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
