"""The commands that touch a partition's keys in Redis; each that writes is fenced.

Every write is a small Lua script that first compares the owner and the last checkpoint with what the writer believes.
Fencing only the last step would not do: a stale owner, or one whose checkpoint a failover took back, would by then have
written its rows over those that the current header needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import redis
import redis.exceptions

from stream_app.certificates import certificate_remedy
from stream_app.checkpoints.bulk_read import Answer, Range, read_ranges
from stream_app.checkpoints.header import label_of_key
from stream_app.checkpoints.state_copy import Write
from stream_app.errors import TidecastError

GROUP_KEYS = 2048
SWEEP_KEYS = 512


class CheckpointRefused(TidecastError):
    """A checkpoint was not taken; the one before it still stands."""


class StoreUnavailable(CheckpointRefused):
    """Redis cannot be reached or does not take writes: the same copy may be written again later."""


class NoSuchDatabase(StoreUnavailable):
    """Redis answers, and has no database of the number in redis.url: waiting does not help."""


class OwnershipLost(CheckpointRefused):
    """Another worker owns the partition's state: discard the partition, or acquire it again if it is still ours."""


class BaseMismatch(CheckpointRefused):
    """The last checkpoint in Redis is not the one this copy builds on: drop it, the next copy is a full snapshot."""


# KEYS: owner, header, … ; ARGV: owner token, tag of the base, tag of this checkpoint, …
_FENCE = """
local owner = redis.call('GET', KEYS[1]) or 'none'
if owner ~= ARGV[1] then return 'owner ' .. owner end
local tag = redis.call('HGET', KEYS[2], 'tag') or ''
if tag == ARGV[3] then return 'done' end
if tag ~= ARGV[2] then return 'base ' .. tag end
"""
# Then for each further key an offset (or 'all': instead of what is there), the length it must have already, and bytes.
# SETRANGE puts zeros before what it writes into a key that was deleted. It says how long the key is then, which is too
# short; only where it writes up to the end of the key, and not from its beginning, that has to be asked for before.
_WRITE = (
    _FENCE
    + """
for i = 3, #KEYS do
  local key, offset, length, data = KEYS[i], ARGV[3 * i - 5], tonumber(ARGV[3 * i - 4]), ARGV[3 * i - 3]
  if offset == 'all' then redis.call('SET', key, data) else
    local first = tonumber(offset)
    local hides = length > 0 and first > 0 and first + #data >= length
    if hides and redis.call('STRLEN', key) < length then return 'short ' .. key end
    if redis.call('SETRANGE', key, offset, data) < length then return 'short ' .. key end
  end
end
return 'ok'
"""
)
_REGISTER = _FENCE + "for i = 4, #ARGV do redis.call('SADD', KEYS[3], ARGV[i]) end return 'ok'"
_FLIP = _FENCE + "redis.call('HSET', KEYS[2], 'tag', ARGV[3], 'body', ARGV[4]) return 'ok'"
# The list of names was read before: it is still complete if we own the partition and the header is still ours.
_SWEEP = """
local owner = redis.call('GET', KEYS[1]) or 'none'
if owner ~= ARGV[1] then return 'owner ' .. owner end
if redis.call('HGET', KEYS[2], 'tag') ~= ARGV[2] then return 'base unlike it' end
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) redis.call('SREM', KEYS[3], ARGV[i - 1]) end
return 'ok'
"""
_ACQUIRE = """
local owner = redis.call('GET', KEYS[1])
local counter = owner and tonumber(string.match(owner, '^%d+')) or 0
redis.call('SET', KEYS[1], string.format('%.0f:%s', counter + 1, ARGV[1]))
return {counter + 1, redis.call('HGET', KEYS[2], 'tag') or ''}
"""
_RELEASE = """
local owner = redis.call('GET', KEYS[1]) or 'none'
if owner ~= ARGV[1] then return 'owner ' .. owner end
redis.call('SET', KEYS[1], string.match(ARGV[1], '^%d+') .. ':')
return 'ok'
"""


class PartitionKeys:
    """The keys of one partition, all in one hash slot, and what is done with them."""

    def __init__(self, client: Any, application_id: str, stream: str, partition: int) -> None:
        self.prefix = f"{{{application_id}:{stream}:{partition}}}"
        self.where = f"key prefix {self.prefix} in Redis"
        self.commands = 0  # sent so far
        self._client = client
        self._owner, self._header, self._registry = (self.name(key) for key in ("owner", "header", "keys"))

    def name(self, key: str) -> str:
        return f"{self.prefix}:{key}"

    # --- ownership --------------------------------------------------------------------------------------------------

    def acquire(self, nonce: str) -> tuple[int, str]:
        """Become the owner: (counter, tag of the last checkpoint or '')."""
        counter, tag = self._script(_ACQUIRE, [self._owner, self._header], [nonce])
        return int(counter), tag.decode()

    def release(self, token: str) -> None:
        """Be the owner no more; nothing happens when another one is."""
        self._script(_RELEASE, [self._owner], [token])

    # --- writing ----------------------------------------------------------------------------------------------------

    def register(self, fence: tuple[str, str, str], keys: Sequence[str]) -> bool:
        """Note names before they are first written, so that those of a failed attempt can be found and deleted."""
        return self._fenced(_REGISTER, [self._registry], fence, list(keys))

    def write(self, fence: tuple[str, str, str], writes: Sequence[Write], lengths: dict[str, int]) -> bool:
        """`fence`: owner token, base tag, own tag. False: this checkpoint stands already.

        `lengths` [bytes], of the keys that were written before, is brought up to date.
        """
        keys = [self.name(write.key) for write in writes]
        arguments: list[Any] = []
        following: dict[str, int] = {}
        for key, offset, data in writes:
            length = following.get(key, lengths.get(key, 0))
            arguments += ("all" if offset is None else offset, length, data)
            following[key] = len(data) if offset is None else max(length, offset + len(data))
        if not self._fenced(_WRITE, keys, fence, arguments):
            return False
        lengths.update(following)
        return True

    def flip(self, fence: tuple[str, str, str], body: bytes) -> None:
        """Make this checkpoint the one that is read."""
        self._fenced(_FLIP, [], fence, [body])

    def sweep(self, token: str, tag: str, kept_labels: set[str]) -> None:
        """Delete what earlier attempts and generations left behind."""
        names = [key.decode() for key in self._call("SMEMBERS", self._registry)]
        gone = [key for key in names if label_of_key(key) not in kept_labels]
        for start in range(0, len(gone), SWEEP_KEYS):
            some = gone[start : start + SWEEP_KEYS]
            keys = [self._owner, self._header, self._registry, *map(self.name, some)]
            self._check(self._script(_SWEEP, keys, [token, tag, *some]), tag)

    def _fenced(self, script: str, keys: list[str], fence: tuple[str, str, str], arguments: list[Any]) -> bool:
        answer = self._script(script, [self._owner, self._header, *keys], [*fence, *arguments])
        return self._check(answer, fence[1])

    def _check(self, answer: bytes, base_tag: str) -> bool:
        if answer.startswith(b"owner"):
            raise OwnershipLost(
                f"Expected to own the state, found owner {answer[6:].decode()} under {self.where}: this worker was "
                "taken for dead, or Redis lost its registration (failover, empty restart). It writes no more; where "
                "Kafka still assigns it the partition, it becomes the owner again and writes a full snapshot."
            )
        if answer.startswith(b"base"):
            found = answer[5:].decode() or "none"
            raise BaseMismatch(
                f"Expected checkpoint {base_tag or 'none'}, found {found} under {self.where}: a failover or a restart "
                "of Redis took the newest one back. The next checkpoint is a full snapshot."
            )
        if answer.startswith(b"short"):
            raise BaseMismatch(
                f"Expected the key {answer[6:].decode()} in Redis to hold what was written to it, found it shorter or "
                "gone: somebody deleted it. The next checkpoint is a full snapshot."
            )
        return answer == b"ok"

    # --- reading ----------------------------------------------------------------------------------------------------

    def tag(self) -> str:
        """Tag of the last checkpoint; '' for none."""
        return (self._call("HGET", self._header, "tag") or b"").decode()

    def header(self) -> tuple[str, bytes] | None:
        tag, body = self._call("HMGET", self._header, "tag", "body")
        return (tag.decode(), body) if tag and body else None

    def lengths(self, keys: Sequence[str]) -> list[int]:
        """Bytes under each key, 0 where there is none."""
        return [length for some in _groups(keys) for length in self._pipeline([("STRLEN", self.name(k)) for k in some])]

    def read(self, ranges: Sequence[Range]) -> Iterator[Answer]:
        """Their bytes, each to be read before the next is asked for. Raises WrongLength."""
        self.commands += len(ranges)
        with reaching(self.where):
            yield from read_ranges(self._client, [each._replace(key=self.name(each.key)) for each in ranges])

    def delete_all(self) -> None:
        """Everything, the owner and the header first: nobody writes or reads what is half gone."""
        self._call("UNLINK", self._owner, self._header)
        pattern = "".join(f"\\{char}" if char in "\\*?[]" else char for char in self.prefix)
        with reaching(self.where):
            names = list(self._client.scan_iter(match=f"{pattern}:*", count=1000))
        for some in _groups(names):
            self._call("UNLINK", *some)

    # --- the client -------------------------------------------------------------------------------------------------

    def _call(self, *command: Any) -> Any:
        self.commands += 1
        with reaching(self.where):
            return self._client.execute_command(*command)

    def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        self.commands += len(commands)
        with reaching(self.where):
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(pipeline.execute())

    def _script(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        self.commands += 1
        digest = _digest(script)
        with reaching(self.where):
            try:
                return self._client.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:  # the server is new, or was restarted
                return self._client.execute_command("EVAL", script, len(keys), *keys, *arguments)


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _groups(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), GROUP_KEYS):
        yield keys[start : start + GROUP_KEYS]


NO_DATABASE = ("DB index is out of range", "SELECT is not allowed in cluster mode")
# What a person does about it, by the beginning of Redis's own words.
REMEDIES = (
    ("OOM", "Redis has reached maxmemory: give it more memory; nothing is lost, the log is in Kafka"),
    ("READONLY", "this is a replica: point redis.url at the primary"),
    ("BUSY", "a script of somebody else blocks Redis: SCRIPT KILL ends it"),
    ("LOADING", "Redis is still reading its data: wait"),
    ("MISCONF", "Redis cannot write to its disk: see its log"),
    ("NOAUTH", "put user and password into redis.url: redis://USER:PASSWORD@HOST:PORT/0"),
    ("WRONGPASS", "check the user and password in redis.url"),
    ("MOVED", "redis.url is a node of a cluster: set redis.cluster = true"),
    ("CLUSTER", "check that its nodes answer; if redis.url is no cluster, set redis.cluster = false"),
    (NO_DATABASE[0], "end redis.url with a database that this server has: /0 is always there, /15 is usually the last"),
    (NO_DATABASE[1], "a cluster has one database: end redis.url with /0, and set redis.cluster = true"),
    ("NOPERM", "the Redis user needs ~{application_id:* with +@read +@write +@scripting +@connection +info"),
)
TLS_REMEDIES = (
    ("CERTIFICATE_VERIFY_FAILED", "check ssl_ca_certs=FILE in redis.url"),
    ("alert", "the server wants another client certificate: set ssl_certfile and ssl_keyfile in redis.url"),
    ("No such file", "check the files that redis.url names (ssl_ca_certs, ssl_certfile, ssl_keyfile)"),
)
CODES = {
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.AuthenticationError: "WRONGPASS",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.RedisClusterException: "CLUSTER",
}


@contextmanager
def reaching(where: str) -> Iterator[None]:
    """Turns whatever the client raises into StoreUnavailable with its remedy."""
    try:
        yield
    except (redis.exceptions.RedisError, redis.exceptions.RedisClusterException) as error:
        code = next((code for kind, code in CODES.items() if isinstance(error, kind)), str(error))
        if "ACL failure in script" in code:  # the script was allowed, a command within it was not
            code = "NOPERM"
        remedy = (
            certificate_remedy(code, address="redis.url", trust="ssl_ca_certs=FILE in redis.url")
            or next((text for start, text in REMEDIES if code.startswith(start)), None)
            or next(
                (text for words, text in TLS_REMEDIES if words in code),
                "check that Redis runs and answers, and that redis.url begins as it should: rediss:// with TLS, else redis://",
            )
        )
        raise (NoSuchDatabase if code.startswith(NO_DATABASE) else StoreUnavailable)(
            f"Expected an answer from Redis ({where}), found {type(error).__name__}: {str(error).rstrip('.')}. "
            f"Remedy: {remedy}."
        ) from error
