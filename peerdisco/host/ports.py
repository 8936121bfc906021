"""Ports that are free on this machine, for daemons that are started beside each other."""

from __future__ import annotations

import contextlib
import random
import socket

_FIRST, _LAST = 10_000, 32_767
"""Below the ranges from which systems draw the ports of outgoing connections: one of those could
take the port before the daemon has bound it."""

_TRIES_MAX = 1_000


def free_ports(host: str, count: int) -> list[int]:
    """Different ports that are free for TCP and UDP now. Raises OSError when there are too few."""
    draws = random.SystemRandom()
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        for _ in range(_TRIES_MAX):
            if len(ports) == count:
                return ports
            port = draws.randint(_FIRST, _LAST)
            tcp = stack.enter_context(socket.socket())
            udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                tcp.bind((host, port))
                udp.bind((host, port))
                ports.append(port)
    raise OSError(f"{host} has no {count} free ports between {_FIRST} and {_LAST}")
