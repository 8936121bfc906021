"""The strings that people paste: join tokens and client strings.

A join token is `pd1.<authority fingerprint>.<grant>@host[:port][,host...]`; a client string is
`pdc1.<authority fingerprint>.<grant>@host:port[,host...]`. The grant is an expiry signed with a
key of the cluster, so any node can check it and the secret itself never stands in a command line.
The fingerprint lets the holder check the cluster before sending anything.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from peerdisco.addresses import Address, format_address
from peerdisco.security.secrets import ClusterSecret

JOIN_PREFIX = "pd1"
CLIENT_PREFIX = "pdc1"
DEFAULT_PEER_PORT = 8990
DEFAULT_HTTP_PORT = 8989
ADDRESSES_MAX = 8
_NONCE_BYTES = 8
_MAC_BYTES = 16
_TOKEN = re.compile(r"(pdc?1)\.([a-z2-7]{24})\.([A-Za-z0-9_-]+)@(.+)")


class BadToken(ValueError):
    """A token that is not one, or no longer one; says which part is wrong."""


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed token.

    Attributes:
        prefix: JOIN_PREFIX or CLIENT_PREFIX.
        fingerprint: Of the cluster's certificate authority.
        grant: The signed permission, opaque to its holder.
        addresses: Where to present it.
    """

    prefix: str
    fingerprint: str
    grant: str
    addresses: tuple[Address, ...]

    def __str__(self) -> str:
        """The string that a person pastes."""
        hosts = ",".join(format_address(address) for address in self.addresses)
        return f"{self.prefix}.{self.fingerprint}.{self.grant}@{hosts}"


def parse_token(text: str, prefix: str) -> Token:
    """The token in a string. Raises BadToken, which never repeats the grant."""
    match = _TOKEN.fullmatch(text.strip())
    if match is None or match[1] != prefix:
        raise BadToken(
            f"not a token of the form {prefix}.<fingerprint>.<grant>@host:port; "
            "copy the whole string that the other node printed"
        )
    port = DEFAULT_PEER_PORT if prefix == JOIN_PREFIX else DEFAULT_HTTP_PORT
    hosts = match[4].split(",")
    if len(hosts) > ADDRESSES_MAX:
        raise BadToken(f"a token names at most {ADDRESSES_MAX} addresses, not {len(hosts)}")
    addresses = tuple(parse_address(host, port) for host in hosts)
    return Token(prefix, match[2], match[3], addresses)


def make_grant(secret: ClusterSecret, purpose: str, expires_at: float, nonce: bytes) -> str:
    """A permission for `purpose` until a wall time in seconds; `nonce` makes it unique."""
    assert len(nonce) == _NONCE_BYTES
    body = int(expires_at).to_bytes(6, "big") + nonce
    return base64.urlsafe_b64encode(body + _sign(secret, purpose, body)).decode().rstrip("=")


def check_grant(secret: ClusterSecret, purpose: str, grant: str, now: float) -> None:
    """Raises BadToken unless this cluster signed the grant for this purpose and it still holds."""
    try:
        raw = base64.urlsafe_b64decode(grant + "=" * (-len(grant) % 4))
    except ValueError:
        raw = b""
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    genuine = hmac.compare_digest(mac, _sign(secret, purpose, body))
    if len(body) != 6 + _NONCE_BYTES or not genuine:
        raise BadToken("this cluster did not issue the token, or it was not copied whole")
    expires_at = int.from_bytes(body[:6], "big")
    if now > expires_at:
        raise BadToken(
            f"the token expired {now - expires_at:.0f} s ago by this node's clock; "
            "make a new one, and compare the clocks of both machines"
        )


def parse_address(text: str, default_port: int) -> Address:
    """`host`, `host:port`, `[v6]` or `[v6]:port` as (host, port). Raises BadToken."""
    match = re.fullmatch(
        r"(?:\[([0-9a-fA-F:.%\w]+)\]|([^\[\]:@,\s]+))(?::(\d{1,5}))?", text.strip()
    )
    port = int(match[3]) if match and match[3] else default_port
    if match is None or not 0 < port < 65536:
        raise BadToken(f"not an address of the form host:port or [v6]:port: {text!r}")
    return match[1] or match[2], port


def _sign(secret: ClusterSecret, purpose: str, body: bytes) -> bytes:
    message = purpose.encode() + b"\0" + body
    return hmac.new(secret.grant_key, message, hashlib.sha256).digest()[:_MAC_BYTES]
