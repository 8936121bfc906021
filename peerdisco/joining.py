"""How a machine becomes a member: redeeming a join token.

The joiner reads the cluster's authority certificate over an unverified connection, compares its
fingerprint with the one in the token, and only then presents the grant, over a connection that the
authority vouches for. In return it learns the cluster secret. An impostor learns nothing but the
fingerprint; a joiner with a stale grant learns nothing at all.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import ssl
from collections.abc import Callable

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from peerdisco.addresses import Address, format_address
from peerdisco.errors import JoinFailed, JoinRefused
from peerdisco.messages import BadMessage, Message, decode, encode
from peerdisco.security.certificates import ANY_NODE, authority_certificate, fingerprint
from peerdisco.security.secrets import ClusterSecret
from peerdisco.security.tokens import JOIN_PREFIX, BadToken, Token, check_grant, make_grant

JOIN_PURPOSE = "join"
JOIN_TIMEOUT_S = 15.0
"""A join succeeds or says why not within this time."""

TCP_TIMEOUT_S = 5.0
REDEEM_TIMEOUT_S = 9.0
"""For all addresses of a token together; what is left of `JOIN_TIMEOUT_S` is for UDP."""

CLOCKS_DIFFER_S = 60.0
"""From here on a difference between two machines' clocks is worth a word."""

GRANT_LIFE_S = 24 * 3600.0
BODY_BYTES_MAX = 4096

logger = logging.getLogger(__name__)


class Admission(Message, frozen=True, array_like=True):
    """What a node that presented a good grant receives.

    Attributes:
        secret: Of the cluster.
        clock: The wall time there; 0 when it was not told.
    """

    secret: bytes
    clock: float = 0.0


class Refusal(Message, frozen=True, array_like=True):
    """Why a grant was not accepted.

    Attributes:
        reason: In words for the joiner.
        clock: The wall time there; 0 when it was not told.
    """

    reason: str
    clock: float = 0.0


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
        now = wall_time()
        try:
            check_grant(secret, JOIN_PURPOSE, grant, now)
        except BadToken as error:
            return web.Response(status=403, body=encode(Refusal(str(error), now)))
        return web.Response(body=encode(Admission(secret.raw, now)))

    return routes


def join_token(
    secret: ClusterSecret, addresses: tuple[Address, ...], expires_at: float, nonce: bytes
) -> str:
    """The string that lets another machine join until `expires_at` (wall time)."""
    certificate = authority_certificate(secret).public_bytes(Encoding.DER)
    grant = make_grant(secret, JOIN_PURPOSE, expires_at, nonce)
    return str(Token(JOIN_PREFIX, fingerprint(certificate), grant, addresses))


async def redeem_token(token: Token, wall_time: Callable[[], float]) -> ClusterSecret:
    """The secret of the cluster that issued the token; takes `REDEEM_TIMEOUT_S` at most.

    Raises JoinRefused when the cluster does not accept the token, and otherwise JoinFailed that
    names each address and what happened there.
    """
    failures: list[str] = []
    refused = False
    timeout_s = min(TCP_TIMEOUT_S, REDEEM_TIMEOUT_S / len(token.addresses))
    for address in token.addresses:
        where = format_address(address)
        try:
            async with asyncio.timeout(timeout_s):
                return await _redeem_at(address, token, wall_time)
        except TimeoutError:
            failures.append(f"{where}: no answer by TCP in {timeout_s:.0f} s")
        except _Impostor:
            refused = True
            failures.append(
                f"{where}: not the cluster that issued the token, as its authority has another "
                "fingerprint; nothing was sent to it"
            )
        except (OSError, aiohttp.ClientError, ValueError) as error:
            failures.append(f"{where}: no answer by TCP ({_words(error)})")
    tried = "could not join: " + "; ".join(failures) + ". "
    if refused:
        raise JoinRefused(tried + "Copy a new token from a node of the cluster that is meant.")
    raise JoinFailed(
        tried + "Is peerdisco running there, and is its peer port open in the firewall?"
    )


def is_for(token: Token, secret: ClusterSecret) -> bool:
    """Whether the cluster of the secret issued the token; it may have expired long ago."""
    certificate = authority_certificate(secret).public_bytes(Encoding.DER)
    return token.fingerprint == fingerprint(certificate)


class _Impostor(Exception):
    """Another cluster is at the address."""


async def _redeem_at(
    address: Address, token: Token, wall_time: Callable[[], float]
) -> ClusterSecret:
    base = f"https://{format_address(address)}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/join/authority", ssl=False) as response:
            certificate = await response.content.read(BODY_BYTES_MAX)
        if fingerprint(certificate) != token.fingerprint:
            raise _Impostor
        async with session.post(
            f"{base}/join/redeem",
            data=token.grant.encode(),
            ssl=_trusting(certificate),
            server_hostname=ANY_NODE,
        ) as response:
            body = await response.content.read(BODY_BYTES_MAX)
            return _admitted(body, response.status, wall_time())


def _admitted(body: bytes, status: int, now: float) -> ClusterSecret:
    try:
        if status == 200:
            admission = decode(body, Admission)
            if difference := _clocks(admission.clock, now):
                logger.warning("clocks_differ %s", difference)
            return ClusterSecret(admission.secret)
        refusal = decode(body, Refusal)
    except BadMessage:
        raise JoinFailed(f"the cluster's answer is not understood (HTTP {status})") from None
    difference = _clocks(refusal.clock, now)
    raise JoinRefused(
        f"the cluster refused: {refusal.reason}" + (f" ({difference})" if difference else "")
    )


def _clocks(theirs: float, ours: float) -> str:
    """In words, how far two wall times are apart; empty when that is nothing to speak of."""
    ahead = ours - theirs
    if not theirs or abs(ahead) < CLOCKS_DIFFER_S:
        return ""
    hours, minutes = divmod(round(abs(ahead) / 60), 60)
    side = "ahead of" if ahead > 0 else "behind"
    return f"this machine's clock is {hours} h {minutes} min {side} that node's"


def _words(error: Exception) -> str:
    """What went wrong, in the operating system's words where it has some."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    number = (cause.errno or 0) if isinstance(cause, OSError) else 0
    if number in errno.errorcode and not isinstance(cause, ssl.SSLError):
        return os.strerror(number)
    return str(cause) or type(cause).__name__


def _trusting(authority: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    return context
