"""Network namespaces of Linux: one for a step, so that this machine's network stays as it is, and one for each pod."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.prove.programs import run

NEW_NETWORK = 0x40000000  # CLONE_NEWNET of sched.h
GATEWAY = "169.254.1.1"  # on this side of each pod's cable, whatever the pod's address


@contextmanager
def own_network(node_address: str) -> Iterator[None]:
    """This thread and what it starts are in a network of their own, which has that address and forwards packets."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "a network namespace of its own")
        run(["ip", "link", "set", "lo", "up"])
        run(["ip", "address", "add", f"{node_address}/32", "dev", "lo"])
        run(["sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1"])
        yield
    finally:
        libc.setns(before, NEW_NETWORK)
        os.close(before)


@contextmanager
def pod_network(name: str, address: str) -> Iterator[list[str]]:
    """A namespace with that address, routed, as a network plugin makes it; the words that run a command in it."""
    cable = f"pod{address.rpartition('.')[2]}"
    run(["ip", "netns", "add", name])
    try:
        within = ["ip", "netns", "exec", name]
        run(["ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name])
        run(["ip", "address", "add", f"{GATEWAY}/32", "dev", cable])
        run(["ip", "link", "set", cable, "up"])
        run(["ip", "route", "add", f"{address}/32", "dev", cable])
        run([*within, "ip", "link", "set", "lo", "up"])
        run([*within, "ip", "address", "add", f"{address}/32", "dev", "eth0"])
        run([*within, "ip", "link", "set", "eth0", "up"])
        run([*within, "ip", "route", "add", "default", "via", GATEWAY, "dev", "eth0", "onlink"])
        yield within
    finally:
        run(["ip", "netns", "delete", name])
