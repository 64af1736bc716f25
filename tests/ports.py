"""Ports that nobody listens at."""

import socket
from contextlib import ExitStack


def free_ports(count):
    """As many ports of the loopback address, each another one."""
    with ExitStack() as opened:
        probes = [opened.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def free_port():
    """One of them."""
    return free_ports(1)[0]
