"""The admin client. If brokers refuse us it says why, in one sentence with the setting that mends it.

librdkafka retries for ever and answers a call with "transport failure"; the real reason goes to a callback.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stream_app.certificates import certificate_remedy, refused_by, speaks_tls
from stream_app.errors import TidecastError
from stream_app.kafka.clients import admin_properties, describe_error
from stream_app.settings.addresses import host_and_port

if TYPE_CHECKING:
    from stream_app.settings import Settings

REPORTS_MAX = 16
ASK_AGAIN_S = 1.0
REFUSED_MAX = 3  # times in a row that nobody listens: a broker that restarts is away for a moment as well
UNRESOLVED = "Failed to resolve"
# By words of librdkafka or of the broker; the first that fits.
_REMEDIES = (
    (
        "OAUTHBEARER token",
        "check sasl.oauthbearer.token.endpoint.url, sasl.oauthbearer.client.id and sasl.oauthbearer.client.secret",
    ),
    ("Unsupported SASL mechanism", "set sasl.mechanism to one that the broker supports"),
    ("connecting to a PLAINTEXT broker listener", "set security.protocol to PLAINTEXT or SASL_PLAINTEXT"),
    ("verify that security.protocol", "set security.protocol to what the listener speaks"),
    ("uthentication", "check sasl.username and sasl.password"),
    ("alert", "the broker wants another client certificate: check ssl.certificate.location and ssl.key.location"),
)


_FORBIDDEN = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)


class NotAllowed(TidecastError):
    """The brokers answer, and this user lacks a right."""


class Admin(AdminClient):
    """An AdminClient that remembers why it is not let in. TidecastError when its properties are no good."""

    def __init__(self, settings: Settings) -> None:
        self._properties = admin_properties(settings)
        self._reports: deque[str] = deque(maxlen=REPORTS_MAX)
        try:
            super().__init__(self._properties | {"error_cb": self._note})
        except KafkaException as error:
            raise TidecastError(
                f"[kafka.client]: expected properties that librdkafka takes, found: {describe_error(error)}. "
                "Mend that property; files must be readable by this user."
            ) from None

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """As AdminClient.list_topics, but a refusal is raised within seconds, because waiting does not help."""
        until, refused = time.monotonic() + timeout, 0
        while True:
            left = until - time.monotonic() if timeout >= 0 else ASK_AGAIN_S
            try:
                return super().list_topics(topic, timeout=min(ASK_AGAIN_S, max(left, 0.0)))
            except KafkaException:
                self.poll(0)
                servers = str(self._properties["bootstrap.servers"])
                refused = refused + 1 if nobody_listens(servers) else 0
                if (timeout >= 0 and left <= ASK_AGAIN_S) or refused >= REFUSED_MAX:
                    raise
                if self._unresolved(servers) or self._refusal(servers):
                    raise

    def failure(self, error: KafkaException) -> TidecastError:
        """What to raise for a call that failed."""
        if error.args[0].code() in _FORBIDDEN:
            return NotAllowed(
                f"Expected Kafka to let this user ask, found: {describe_error(error).rstrip('.')}. Give it the right, "
                "DescribeConfigs on topics and cluster among them (docs/OPERATIONS.md, Security)."
            )
        return TidecastError(self.unreachable(error))

    def unreachable(self, error: KafkaException) -> str:
        """Why a call failed, and what to do about it."""
        servers = str(self._properties["bootstrap.servers"])
        expected = f"Expected a Kafka broker at {servers} (kafka.bootstrap_servers)"
        self.poll(0.1)  # delivers the reports
        if (said := self._unresolved(servers)) is not None:
            return f"{expected}, found: {said}. Is the name right, and known on this machine or in this network?"
        if nobody_listens(servers):
            return (
                f"{expected}, found that nobody listens there. Is it running (`tidecast services up` starts one), and "
                "is the address right?"
            )
        found = self._refusal(servers)
        if found is None:
            return (
                f"{expected}, found none that answers ({describe_error(error)}). Is it running (`tidecast services "
                "up` starts one), is the address right, do TLS and SASL (security.protocol) in [kafka.client] fit it?"
            )
        said, remedy = found
        return f"{expected} to let this client in, found: {said}. Remedy: in [kafka.client], {remedy}."

    def _note(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._SSL, KafkaError._AUTHENTICATION, KafkaError._TRANSPORT, KafkaError._RESOLVE):
            self._reports.append(error.str())

    def _unresolved(self, servers: str) -> str | None:
        """The last report of an unknown broker name, if only one is configured: with several, one may do."""
        newest = self._reports[-1] if self._reports else ""
        return _without_place(newest) if UNRESOLVED in newest and "," not in servers else None

    def _refusal(self, servers: str) -> tuple[str, str] | None:
        """(what was said, the remedy) of the newest report that says something."""
        for report in reversed(self._reports):
            if "certificate verify failed" in report:
                said = refused_by(servers, self._properties) or "the broker's certificate cannot be verified"
                remedy = certificate_remedy(said, address="kafka.bootstrap_servers", trust="ssl.ca.location")
                return said.rstrip("."), remedy or "check ssl.ca.location"
            for words, remedy in _REMEDIES:
                if words in report:
                    return _without_place(report), remedy
        if "SSL" not in str(self._properties.get("security.protocol", "")).upper() and speaks_tls(servers):
            return "a listener that speaks TLS", "set security.protocol to SSL or SASL_SSL"
        return None


def nobody_listens(servers: str) -> bool:
    """Whether each of them (HOST:PORT,…) refuses connections."""
    for each in servers.split(","):
        host, port = host_and_port(each)
        try:
            socket.create_connection((host.strip("[]"), int(port)), ASK_AGAIN_S).close()
        except ConnectionRefusedError:
            continue
        except OSError:
            return False
        return False
    return True


def _without_place(report: str) -> str:
    """`sasl_ssl://host:1/bootstrap: what was said (after 3ms in state …)` → what was said."""
    return report.partition("bootstrap: ")[2].partition(" (after ")[0].rstrip(".") or report.rstrip(".")


def unreachable(admin: Any, error: KafkaException) -> str:
    """The same for any AdminClient; one that remembers no refusal has only the error."""
    return admin.unreachable(error) if isinstance(admin, Admin) else f"Kafka does not answer: {describe_error(error)}."
