"""Where a node is reached: a host and a port, and how they are written.

Clients on loopback import this and nothing that costs more.
"""

from __future__ import annotations

import ipaddress

Address = tuple[str, int]
"""A host (a name, or an address without brackets) and a port."""


def format_address(address: Address) -> str:
    """(host, port) as `host:port`, with brackets around an IPv6 host."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host; of names only `localhost` is believed."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
