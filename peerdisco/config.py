"""What a node is told before it starts: values only, nothing is read here."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from peerdisco.addresses import Address
from peerdisco.security.tokens import DEFAULT_HTTP_PORT, DEFAULT_PEER_PORT

LOOPBACK = "127.0.0.1"


class UdpLibrary(enum.StrEnum):
    """What the UDP port is built on; both behave the same."""

    AIOUDP = "aioudp"
    ASYNCIO = "asyncio"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Settings of one node.

    Attributes:
        name: For people; never identity.
        listen_host: Interface of the peer port; None for all of them.
        peer_port: UDP and TCP port for other nodes.
        advertise: Where other nodes reach this one.
        names: By which clients may call this node, beside its addresses.
        http_host: Interface of the client port.
        http_port: Port for REST and the web UI.
        slots: Tasks that run at the same time.
        stores: Whether the node offers its disk to DDFS.
        zone: What fails together with this node; its own id when empty.
        capacity: Share of the data relative to other nodes.
        seeds: Addresses of nodes to find the cluster through.
        local: Timings for a cluster on one machine instead of a network.
        task_memory_bytes: What one task may hold before it spills to disk.
        udp: Which library serves the UDP port.
    """

    name: str
    advertise: Address
    listen_host: str | None = None
    peer_port: int = DEFAULT_PEER_PORT
    names: tuple[str, ...] = ()
    http_host: str = LOOPBACK
    http_port: int = DEFAULT_HTTP_PORT
    slots: int = 1
    stores: bool = True
    zone: str = ""
    capacity: int = 1
    seeds: tuple[Address, ...] = field(default=())
    local: bool = False
    task_memory_bytes: int = 256 * 1024 * 1024
    udp: UdpLibrary = UdpLibrary.AIOUDP

    @property
    def udp_host(self) -> str:
        """The interface of the UDP port; all of them when none was named."""
        if self.listen_host:
            return self.listen_host
        return "::" if ":" in self.advertise[0] else "0.0.0.0"  # noqa: S104 - sealed, see README
