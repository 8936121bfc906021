"""Names and IPv4 addresses inside the world.

A node is reachable at its own address and, from itself, at 127.0.0.0/8. Node names resolve like
host names. There is no IPv6.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peerdisco_sim.world import World

Address = tuple[str, int]
ANY = "0.0.0.0"  # noqa: S104 - an address in the simulated network
LOCALHOST = "127.0.0.1"


def is_loopback(ip: str) -> bool:
    """Whether an address is only reachable from its own node."""
    return ip.startswith("127.")


def node_ip(number: int) -> str:
    """The address of the node with that number, from 1."""
    return str(ipaddress.IPv4Address("10.0.0.0") + number)


def resolve(world: World, host: Any) -> str:
    """The IPv4 address of a host; raises socket.gaierror as a resolver would."""
    if host in world.network.hosts:  # by far the most frequent: it is an address already
        known: str = host
        return known
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", ANY, "::"):
        return ANY
    if name == "localhost":
        return LOCALHOST
    node = world.nodes.get(name)
    if node is not None:
        return node.ip
    try:
        return str(ipaddress.IPv4Address(name))
    except ipaddress.AddressValueError:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
