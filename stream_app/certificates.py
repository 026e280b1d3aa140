"""Why a server's certificate was refused, and which setting mends that, in the same words for Kafka and Redis.

librdkafka says only that a certificate "could not be verified", so `refused_by` connects to the broker once more to
ask.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any

TIMEOUT_S = 3.0
_SIGNER = ("self-signed", "self signed", "unable to get", "unable to verify")
_NAME = ("ostname mismatch", "IP address mismatch", "not valid for")


def certificate_remedy(said: str, *, address: str, trust: str) -> str | None:
    """A remedy for OpenSSL's words. `address` and `trust` name the settings of the server's address and of its CA."""
    if "has expired" in said:
        return "the server's certificate has expired: renew it there, and see that the clock of this machine is right"
    if "not yet valid" in said:
        return "the server's certificate is not valid yet: see that the clock of this machine is right"
    if any(words in said for words in _NAME):
        return f"the server's certificate is for another host: in {address} name the server as its certificate does"
    if any(words in said for words in _SIGNER):
        return f"nobody who is trusted has signed the server's certificate: set {trust} to the file of its authority"
    return None


def refused_by(servers: str, properties: Mapping[str, Any]) -> str | None:
    """What OpenSSL says of the first of these servers (HOST:PORT,…), under a client's librdkafka properties; None when
    it believes the certificate, or cannot tell."""
    host, _, port = servers.split(",")[0].strip().rpartition(":")
    try:
        context = _context(properties)
        with (
            socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=host.strip("[]")),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        return None


def speaks_tls(servers: str) -> bool:
    """Whether the first of them answers a greeting of TLS with one."""
    return refused_by(servers, {"ssl.ca.pem": ""}) is not None  # trusts nobody


def _context(properties: Mapping[str, Any]) -> ssl.SSLContext:
    """Trusts whom the client trusts. Raises OSError for a file that cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pem, location = properties.get("ssl.ca.pem"), properties.get("ssl.ca.location")
    if pem:
        context.load_verify_locations(cadata=str(pem))
    elif location and location != "probe":
        context.load_verify_locations(str(location))
    elif pem is None:
        context.load_default_certs()
    context.check_hostname = properties.get("ssl.endpoint.identification.algorithm", "https") != "none"
    return context
