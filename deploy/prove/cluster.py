"""A real Kubernetes control plane on this machine, with nodes that kwok plays: pods are scheduled and run nothing."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.prove.programs import run, wait_for
from stream_app.local_services.ports import free_port

NODES = ("n1", "n2", "n3")
SERVICES = "10.0.0.0/24"  # addresses of services
STOP_S = 10
Options = dict[str, object]  # --name=value


class Cluster:
    """`with Cluster(folder) as cluster: cluster.kubectl("get", "nodes")`."""

    def __init__(self, folder: Path, nodes: Sequence[str] = NODES, played: Mapping[str, object] | None = None) -> None:
        """`played`: how kwok plays nodes and pods, beyond what it does by itself."""
        self._nodes = nodes
        self._played = dict(played or {})
        self._bin = folder / "bin"
        self._home = folder / "cluster"
        self._config = self._home / "kubeconfig"
        self._servers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        shutil.rmtree(self._home, ignore_errors=True)
        certificates = self._home / "certificates"
        certificates.mkdir(parents=True)
        key, public = certificates / "accounts.key", certificates / "accounts.pub"
        run(["openssl", "genrsa", "-out", key, "2048"])
        run(["openssl", "rsa", "-in", key, "-pubout", "-out", public])
        api, etcd, peer = free_port(), f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        tokens = self._log_in(api)
        store: Options = {"name": "c", "data-dir": self._home / "etcd", "initial-cluster": f"c={peer}"}
        store |= {"listen-client-urls": etcd, "advertise-client-urls": etcd}
        store |= {"listen-peer-urls": peer, "initial-advertise-peer-urls": peer}
        api_server: Options = {"etcd-servers": etcd, "bind-address": "127.0.0.1", "advertise-address": "127.0.0.1"}
        api_server |= {"secure-port": api, "cert-dir": certificates, "endpoint-reconciler-type": "none"}
        api_server |= {"token-auth-file": tokens, "authorization-mode": "RBAC"}
        api_server |= {"service-account-issuer": "https://kubernetes.default.svc"}
        api_server |= {"service-account-key-file": public, "service-account-signing-key-file": key}
        api_server |= {"service-cluster-ip-range": SERVICES}
        one_of_each: Options = {"kubeconfig": self._config, "bind-address": "127.0.0.1", "leader-elect": "false"}
        try:
            self._start("etcd", store)
            self._start("kube-apiserver", api_server)
            wait_for(lambda: self.kubectl("get", "--raw", "/readyz", code=None) == "ok", "the API server is ready", 120)
            accounts: Options = {"service-account-private-key-file": key, "secure-port": free_port()}
            self._start("kube-controller-manager", one_of_each | accounts)
            self._start("kube-scheduler", one_of_each | {"secure-port": free_port()})
            # Without the leases of its nodes the controllers would take them for dead after a minute.
            leases: Options = {"manage-all-nodes": "true", "node-lease-duration-seconds": 40}
            self._start("kwok", {"kubeconfig": self._config} | leases | self._played)
            for node in self._nodes:
                self.apply(_node(node))
        except BaseException:
            self._stop()
            raise
        return self

    def _log_in(self, port: int) -> Path:
        """Writes how kubectl gets in; the file of tokens for the API server."""
        token, tokens = secrets.token_hex(16), self._home / "tokens.csv"
        tokens.touch(0o600)
        tokens.write_text(f"{token},admin,1,system:masters\n")
        self._config.write_text(
            textwrap.dedent(f"""\
                apiVersion: v1
                kind: Config
                clusters: [{{name: c, cluster: {{server: "https://127.0.0.1:{port}", insecure-skip-tls-verify: true}}}}]
                users: [{{name: admin, user: {{token: {token}}}}}]
                contexts: [{{name: c, context: {{cluster: c, user: admin}}}}]
                current-context: c
                """)
        )
        return tokens

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def kubectl(self, *words: str | Path, code: int | None = 0) -> str:
        return run([self._bin / "kubectl", f"--kubeconfig={self._config}", *words], code=code).strip()

    def apply(self, manifest: str, *words: str, code: int | None = 0) -> str:
        """Apply a text of YAML; what kubectl said."""
        file = self._home / f"{secrets.token_hex(4)}.yaml"
        file.write_text(manifest)
        try:
            return self.kubectl("apply", *words, "-f", file, code=code)
        finally:
            file.unlink()

    def patched(self, manifest: str, patch: str) -> str:
        """A text of YAML with a JSON patch; the cluster is not asked."""
        file = self._home / f"{secrets.token_hex(4)}.yaml"
        file.write_text(manifest)
        return self.kubectl("patch", "--local", "-f", file, "--type=json", "-p", patch, "-o", "yaml")

    def watch(self, port: int) -> None:
        """kube-state-metrics over the CronJobs, on that port; it ends with the cluster."""
        served: Options = {"host": "127.0.0.1", "port": port, "telemetry-host": "127.0.0.1"}
        served |= {"telemetry-port": free_port(), "kubeconfig": self._config, "resources": "cronjobs"}
        self._start("kube-state-metrics", served)

    def enforce(self, node: str) -> None:
        """kube-router on that node writes the rules of network policies into the kernel; it ends with the cluster."""
        what: Options = {"run-firewall": True, "run-router": False, "run-service-proxy": False}
        what |= {"kubeconfig": self._config, "hostname-override": node, "service-cluster-ip-range": SERVICES}
        self._start("kube-router", what | {"health-port": free_port(), "iptables-sync-period": "5s"})

    def _start(self, program: str, options: Options) -> None:
        command = [
            str(self._bin / program),
            *(
                f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
                for name, value in options.items()
            ),
        ]
        with (self._home / f"{program}.log").open("wb") as log:
            self._servers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def _stop(self) -> None:
        """Last started, first ended: etcd goes when nobody asks it any more."""
        for server in reversed(self._servers):
            server.terminate()
            try:
                server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _node(name: str) -> str:
    zone = f"z{NODES.index(name)}"
    return textwrap.dedent(f"""\
        apiVersion: v1
        kind: Node
        metadata: {{name: {name}, labels: {{kubernetes.io/hostname: {name}, topology.kubernetes.io/zone: {zone}}}}}
        status: {{allocatable: {{cpu: "4", memory: 8Gi, pods: "20", ephemeral-storage: 20Gi}},
                  capacity: {{cpu: "4", memory: 8Gi, pods: "20", ephemeral-storage: 20Gi}}}}
        """)
