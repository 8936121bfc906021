"""How a machine becomes a member: redeeming a join token.

The joiner reads the cluster's authority certificate over an unverified connection, compares its
fingerprint with the one in the token, and only then presents the grant, over a connection that the
authority vouches for. In return it learns the cluster secret. An impostor learns nothing but the
fingerprint; a joiner with a stale grant learns nothing at all.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from peerdisco.errors import JoinFailed
from peerdisco.messages import BadMessage, Message, decode, encode
from peerdisco.security.certificates import ANY_NODE, authority_certificate, fingerprint
from peerdisco.security.secrets import ClusterSecret
from peerdisco.security.tokens import (
    JOIN_PREFIX,
    Address,
    BadToken,
    Token,
    check_grant,
    format_address,
    make_grant,
)

JOIN_PURPOSE = "join"
JOIN_TIMEOUT_S = 15.0
"""A join succeeds or says why not within this time."""

TCP_TIMEOUT_S = 5.0
GRANT_LIFE_S = 24 * 3600.0
BODY_BYTES_MAX = 4096


class Admission(Message, frozen=True, array_like=True):
    """What a node that presented a good grant receives."""

    secret: bytes


class Refusal(Message, frozen=True, array_like=True):
    """Why a grant was not accepted, in words for the joiner."""

    reason: str


def join_routes(secret: ClusterSecret, wall_time: Callable[[], float]) -> web.RouteTableDef:
    """The two routes of the peer port that need no proof of identity."""
    routes = web.RouteTableDef()
    certificate = authority_certificate(secret).public_bytes(Encoding.DER)

    @routes.get("/join/authority")
    async def authority(_: web.Request) -> web.Response:
        return web.Response(body=certificate)

    @routes.post("/join/redeem")
    async def redeem(request: web.Request) -> web.Response:
        grant = (await request.content.read(BODY_BYTES_MAX)).decode(errors="replace")
        try:
            check_grant(secret, JOIN_PURPOSE, grant, wall_time())
        except BadToken as error:
            return web.Response(status=403, body=encode(Refusal(str(error))))
        return web.Response(body=encode(Admission(secret.raw)))

    return routes


def join_token(
    secret: ClusterSecret, addresses: tuple[Address, ...], expires_at: float, nonce: bytes
) -> str:
    """The string that lets another machine join until `expires_at` (wall time)."""
    certificate = authority_certificate(secret).public_bytes(Encoding.DER)
    grant = make_grant(secret, JOIN_PURPOSE, expires_at, nonce)
    return str(Token(JOIN_PREFIX, fingerprint(certificate), grant, addresses))


async def redeem_token(token: Token) -> ClusterSecret:
    """The secret of the cluster that issued the token.

    Raises JoinFailed that names each address and what happened there.
    """
    failures: list[str] = []
    for address in token.addresses:
        try:
            async with asyncio.timeout(TCP_TIMEOUT_S):
                return await _redeem_at(address, token)
        except TimeoutError:
            failures.append(f"{format_address(address)}: no answer by TCP in {TCP_TIMEOUT_S:.0f} s")
        except (OSError, aiohttp.ClientError) as error:
            failures.append(f"{format_address(address)}: no answer by TCP ({error})")
    raise JoinFailed(
        "could not join: " + "; ".join(failures) + ". "
        "Is peerdisco running there, and is its peer port open in the firewall?"
    )


async def _redeem_at(address: Address, token: Token) -> ClusterSecret:
    base = f"https://{format_address(address)}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/join/authority", ssl=False) as response:
            certificate = await response.content.read(BODY_BYTES_MAX)
        if fingerprint(certificate) != token.fingerprint:
            raise JoinFailed(
                f"{format_address(address)} is not the cluster that issued the token: "
                "its authority has another fingerprint. Nothing was sent to it."
            )
        async with session.post(
            f"{base}/join/redeem",
            data=token.grant.encode(),
            ssl=_trusting(certificate),
            server_hostname=ANY_NODE,
        ) as response:
            return _admitted(await response.content.read(BODY_BYTES_MAX), response.status)


def _admitted(body: bytes, status: int) -> ClusterSecret:
    try:
        if status == 200:
            return ClusterSecret(decode(body, Admission).secret)
        raise JoinFailed(f"the cluster refused: {decode(body, Refusal).reason}")
    except BadMessage:
        raise JoinFailed(f"the cluster's answer is not understood (HTTP {status})") from None


def _trusting(authority: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    return context
