"""One broker with a listener for each way in, and one store behind TLS: a hosted service, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from stream_app.local_services.kafka_server import KafkaServer
from stream_app.local_services.ports import LOCALHOST, free_port
from stream_app.local_services.state_file import StateFile
from stream_app.local_services.valkey_server import ValkeyServer
from tests.chaos.tcp_proxy import TcpProxy
from tests.security.authority import Authority

JARS = Path(__file__).parents[2] / ".tidecast" / "kafka-jars"
USER, PASSWORD = "worker", "canary-of-kafka"
LISTENERS = ("tls", "sasl", "expired", "elsewhere")  # beside PLAINTEXT, by which the test itself comes in
LOGIN = "org.apache.kafka.common.security"


@dataclass
class SecuredServers:
    """Addresses of the ways in, and the files of those who are trusted."""

    kafka: KafkaServer
    valkey: ValkeyServer
    authority: Authority
    stranger: Authority  # another one, that signed nothing here
    redis: dict[str, TcpProxy]  # tls, expired, elsewhere

    def address(self, listener: str) -> str:
        return f"{LOCALHOST}:{self.kafka.ports[listener]}"

    def redis_url(self, way: str = "tls", *, login: str = "", ca: Path | None = None) -> str:
        return f"rediss://{login}{self.redis[way].address}/0?ssl_ca_certs={ca or self.authority.file}"

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.kafka.address})

    def connected(self, pid: int) -> set[str]:
        """The servers of these that a process and its children have connections with, by name."""
        ports = dict.fromkeys(self.kafka.ports.values(), "kafka") | {self.valkey.port: "redis"}
        ports |= {int(proxy.address.rpartition(":")[2]): "redis" for proxy in self.redis.values()}
        process = psutil.Process(pid)
        found = [each for one in (process, *process.children(recursive=True)) for each in one.net_connections("tcp")]
        served = {each.laddr.port for each in found if each.status == psutil.CONN_LISTEN}
        begun = [each for each in found if each.raddr and each.laddr.port not in served]
        return {ports.get(each.raddr.port, str(each.raddr)) for each in begun}

    def add_reader(
        self, user: str, password: str, *topics: str, describes: Sequence[str] = (), group: str | None = None
    ) -> None:
        """Who may read these topics, may know of those, of that group, and nothing else."""
        scram = UserScramCredentialUpsertion(
            user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
        )
        self.admin.alter_user_scram_credentials([scram])[user].result(30)
        literal, allow = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
        given = [*((topic, AclOperation.READ) for topic in topics), *((t, AclOperation.DESCRIBE) for t in describes)]
        acls = [
            AclBinding(ResourceType.TOPIC, topic, literal, f"User:{user}", "*", operation, allow)
            for topic, operation in given
        ]
        if group is not None:
            of = (ResourceType.GROUP, group, literal, f"User:{user}", "*", AclOperation.DESCRIBE, allow)
            acls.append(AclBinding(*of))
        for made in self.admin.create_acls(acls).values():
            made.result(30)

    def grant(self, topic: str, deployment: str, *but: str) -> None:
        """What a worker of a deployment needs, without what `but` names."""
        every, allow = ResourcePatternType.PREFIXED, AclPermissionType.ALLOW
        wanted = {
            "topics": (ResourceType.TOPIC, topic, AclOperation.READ),
            "group": (ResourceType.GROUP, deployment, AclOperation.READ),
            "outputs": (ResourceType.TOPIC, deployment, AclOperation.WRITE),
            "transactional id": (ResourceType.TRANSACTIONAL_ID, deployment, AclOperation.WRITE),
        }
        acls = [
            AclBinding(kind, name, every, f"User:{USER}", "*", operation, allow)
            for right, (kind, name, operation) in wanted.items()
            if right not in but
        ]
        for made in self.admin.create_acls(acls).values():
            made.result(30)


@contextlib.contextmanager
def secured_servers(folder: Path) -> Iterator[SecuredServers]:
    authority, stranger = Authority(folder, "ours"), Authority(folder, "stranger")
    identities = {
        "tls": authority.identity("tls"),
        "expired": authority.identity("expired", expired=True),
        "elsewhere": authority.identity("elsewhere", host="broker.example"),
    }
    identities["sasl"] = identities["tls"]
    taken: set[int] = set()
    for _ in ("client", "controller", *LISTENERS, "valkey"):
        taken.add(free_port(taken=frozenset(taken)))
    client, controller, valkey_port, *others = taken
    ports = {"client": client, "controller": controller, **dict(zip(LISTENERS, others, strict=True))}
    keys = {listener: str(identities[listener].both) for listener in LISTENERS}
    state_file = StateFile(folder / "services.json")
    kafka = KafkaServer(
        directory=folder,
        ports=ports,
        tied=True,
        state_file=state_file,
        downloads=JARS,
        progress=lambda *_: None,
        properties=listener_properties(ports, keys, str(authority.file)),
    )
    valkey = ValkeyServer(directory=folder, ports={"client": valkey_port}, tied=True, state_file=state_file)
    with contextlib.ExitStack() as stack:
        for server in (valkey, kafka):
            server.start()
            stack.callback(server.kill)
        redis = {}
        for way in ("tls", "expired", "elsewhere"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identities[way].both)
            redis[way] = stack.enter_context(TcpProxy(lambda: valkey.port, tls=context))
        servers = SecuredServers(kafka, valkey, authority, stranger, redis)
        scram = UserScramCredentialUpsertion(
            USER, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode()
        )
        servers.admin.alter_user_scram_credentials([scram])[USER].result(30)
        yield servers


def listener_properties(ports: dict[str, int], keys: dict[str, str], authority: str) -> dict[str, str]:
    """Who comes by PLAINTEXT may do all, the others what they are given."""
    names = {"client": "PLAINTEXT", "controller": "CONTROLLER"} | {each: each.upper() for each in LISTENERS}
    places = {name: f"{names[name]}://{LOCALHOST}:{port}" for name, port in ports.items()}
    protocols = dict.fromkeys(names.values(), "PLAINTEXT") | {each.upper(): "SSL" for each in LISTENERS}
    protocols["SASL"] = "SASL_SSL"
    properties = {
        "listeners": ",".join(places.values()),
        "advertised.listeners": ",".join(place for name, place in places.items() if name != "controller"),
        "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
        "inter.broker.listener.name": "PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:hosted",
        "offsets.retention.minutes": "1440",  # two things that the doctor warns of
        "unclean.leader.election.enable": "true",
        "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.sasl.plain.sasl.jaas.config": (
            f'{LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}" user_hosted="{PASSWORD}";'
        ),
        "listener.name.sasl.scram-sha-512.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        "listener.name.sasl.oauthbearer.sasl.jaas.config": (
            f'{LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        ),
    }
    for listener, key in keys.items():
        of = f"listener.name.{listener}.ssl"
        properties |= {f"{of}.keystore.type": "PEM", f"{of}.keystore.location": key}
        properties |= {f"{of}.truststore.type": "PEM", f"{of}.truststore.location": authority}
    return properties
