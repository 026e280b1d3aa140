"""Checks addresses as a person writes them, for mistakes that a client would report much later, or not at all."""

from __future__ import annotations

from urllib.parse import urlsplit

PORT_MAX = 65_535
DATABASE_MAX = 2**31 - 1
# What librdkafka takes before HOST:PORT.
PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
OF_REDIS = "expected redis://, rediss:// or unix://, USER:PASSWORD@HOST:PORT/DATABASE"


def brokers(text: str) -> str:
    """HOST:PORT, several separated by commas; librdkafka would wait for what it does not understand. ValueError."""
    for each in text.split(","):
        protocol, has_one, _ = each.strip().rpartition("://")
        host, port = host_and_port(each)
        fine = bool(host) and "/" not in host and port.isdecimal() and 0 < int(port) <= PORT_MAX
        if not fine or (has_one and protocol.lower() not in PROTOCOLS):
            raise ValueError(f"expected HOST:PORT, several separated by commas, found {each.strip()!r}")
    return text


def host_and_port(broker: str) -> tuple[str, str]:
    """Of one, as librdkafka reads it."""
    place = broker.strip().rpartition("://")[2]
    host, _, port = place.rpartition(":") if ":" in place.rpartition("]")[2] else (place, "", "9092")
    return host, port


def registries(text: str | None) -> str | None:
    """http:// or https:// addresses, several separated by commas. ValueError."""
    for each in [] if text is None else text.split(","):
        if not each.strip().startswith(("http://", "https://")):
            shown = "another" if "@" in each else repr(each.strip())  # a password may stand there
            raise ValueError(f"expected http:// or https:// addresses, separated by commas, found {shown}")
    return text


def redis_address(url: str) -> str:
    """ValueError for what redis-py would reject with the password in its message."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        if "out of range" in str(error):
            raise ValueError(f"{OF_REDIS}, found a port above {PORT_MAX}") from None
        raise ValueError(
            f"{OF_REDIS}; characters such as / # ? @ in a password are written as %2F %23 %3F %40"
        ) from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"{OF_REDIS}, found another scheme")
    if parts.scheme == "unix":
        return url
    if not parts.hostname:
        raise ValueError(f"{OF_REDIS}, found no host")
    if port is None and parts.netloc.endswith(":"):
        raise ValueError(f"{OF_REDIS}, found no port")
    database = parts.path.strip("/")
    if database and not database.isdecimal():  # redis-py would take database 0
        raise ValueError(f"{OF_REDIS}, found a database that is no number")
    if database and int(database) > DATABASE_MAX:  # Redis calls it no number, which sounds like a server to wait for
        raise ValueError(f"{OF_REDIS}, found a database above {DATABASE_MAX}")
    return url
