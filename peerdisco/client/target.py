"""Where a client looks for its cluster: `host:port[,host:port]` or a client string.

A plain list is for loopback and for networks that are private anyway; a client string
`pdc1.<fingerprint>.<token>@host:8989[,host]` names the cluster it trusts and carries a token.
"""

from __future__ import annotations

from dataclasses import dataclass

from peerdisco.addresses import Address
from peerdisco.errors import PeerdiscoError

DEFAULT_PORT = 8989
LOCAL = ("127.0.0.1", DEFAULT_PORT)


class BadPeer(PeerdiscoError):
    """The value of PEERDISCO or of `peer=` is not an address."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed peer value.

    Attributes:
        addresses: To be tried in this order.
        fingerprint: Of the cluster's authority; empty for plain HTTP.
        token: Sent with every request; empty for none.
    """

    addresses: tuple[Address, ...]
    fingerprint: str = ""
    token: str = ""


def parse_target(text: str) -> Target:
    """The target in a peer value. Raises BadPeer that says what is wrong with it."""
    text = text.strip()
    if text.startswith("pdc1."):
        return _parse_client_string(text)
    if "@" in text:
        raise BadPeer("a client string begins with pdc1.; `peerdisco token create` prints one")
    text = text.removeprefix("http://").rstrip("/")
    if text.startswith("https://"):
        raise BadPeer("TLS needs a client string, made by `peerdisco token create`")
    return Target(tuple(_parse_address(part) for part in text.split(",") if part.strip()) or _no())


def _parse_client_string(text: str) -> Target:
    # Loads cryptography, which plain HTTP on loopback does without.
    from peerdisco.security.tokens import CLIENT_PREFIX, BadToken, parse_token

    try:
        token = parse_token(text, CLIENT_PREFIX)
    except BadToken as error:
        raise BadPeer(str(error)) from None
    return Target(token.addresses, token.fingerprint, token.grant)


def _parse_address(text: str) -> Address:
    host, port = text.strip(), ""
    if host.startswith("["):
        host, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    if not host or any(character in host for character in "/@ ") or not (port or "0").isdecimal():
        raise BadPeer(f"{text.strip()!r} is not an address of the form host:port or [v6]:port")
    number = int(port or DEFAULT_PORT)
    if not 0 < number < 65536:
        raise BadPeer(f"{text.strip()!r} has no valid port")
    return host, number


def _no() -> tuple[Address, ...]:
    raise BadPeer("no address given; use host:port")


def parse_http(text: str) -> Address | None:
    """The address in a member's `http`, or None."""
    try:
        return _parse_address(text) if text else None
    except BadPeer:
        return None
