"""Bodies and parameters: how requests become values and values become responses.

A body is never buffered beyond its route's limit: a declared length over it is refused unread, an
undeclared one is cut off at it. Streams are handed on in pieces and never buffered at all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar
from urllib.parse import unquote

import msgspec
from aiohttp import web

from peerdisco_webui.errors import (
    ApiError,
    BadRequest,
    TagTokenNeeded,
    TooLarge,
    TooSlow,
    Unauthorized,
)
from peerdisco_webui.messages import OPERATION_HEADER, PROOF_HEADER, USER_HEADER
from peerdisco_webui.ports import Caller

T = TypeVar("T")

JSON_BYTES_MAX = 32 << 20
BODY_SILENCE_S = 60.0
"""A body of which nothing comes for so long is given up."""
PIECE_BYTES_MAX = 1 << 20
WRITE_BYTES = 256 << 10

USER_CHARACTERS_MAX = 255
_OPERATION = re.compile(r"([!-.0-~]{1,64})/([0-9]{1,15})")

CHALLENGES = 'Bearer realm="peerdisco", Basic realm="peerdisco", charset="UTF-8"'
"""Browsers answer the second challenge with a dialog: any user name, the token as password."""


def json_response(value: object, *, status: int = 200) -> web.Response:
    """A Struct as JSON; API answers are never cached."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def problem_response(error: ApiError) -> web.Response:
    """A failure as problem+json."""
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = CHALLENGES
    if isinstance(error, TagTokenNeeded):
        headers["WWW-Authenticate"] = PROOF_HEADER  # a scheme for which browsers ask nobody
    return web.Response(
        body=msgspec.json.encode(error.problem()),
        status=error.status,
        content_type="application/problem+json",
        headers=headers,
    )


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is known to exceed the limit."""
    refusal = TooLarge(f"this route takes at most {limit} bytes")
    if request.content_length is not None and request.content_length > limit:
        raise refusal
    body = bytearray()
    async for piece in _pieces(request):
        body += piece
        if len(body) > limit:
            raise refusal
    return bytes(body)


async def read_json(request: web.Request, kind: type[T]) -> T:
    """The body as a Struct. Raises BadRequest that names the wrong field."""
    body = await read_body(request, JSON_BYTES_MAX)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not what this route takes: {error}") from None


async def stream_body(request: web.Request) -> AsyncIterator[bytes]:
    """The body in pieces. A client that goes away makes this raise, so nothing ends up short."""
    async for piece in _pieces(request):
        for start in range(0, len(piece), PIECE_BYTES_MAX):
            yield piece[start : start + PIECE_BYTES_MAX]


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises TooSlow when nothing comes for too long."""
    while True:
        try:
            async with asyncio.timeout(BODY_SILENCE_S):
                piece = await request.content.readany()
        except TimeoutError:
            raise TooSlow(f"nothing came for {BODY_SILENCE_S:.0f} seconds") from None
        if not piece:
            return
        yield piece


def slices(piece: bytes) -> Iterator[bytes | memoryview]:
    """A piece in parts of a size that TLS on asyncio encrypts and sends at the least cost."""
    if len(piece) <= WRITE_BYTES:
        yield piece
        return
    view = memoryview(piece)
    for start in range(0, len(piece), WRITE_BYTES):
        yield view[start : start + WRITE_BYTES]


def caller_of(request: web.Request, token: str | None = None) -> Caller:
    """Who asks for something of a tag, from three headers.

    `X-Peerdisco-Tag-Token` is a token of the tag, percent-encoded and possibly empty; without the
    header it is `token`. `X-Peerdisco-User` says who asks; `X-Peerdisco-Operation` is
    `<session>/<number>` and lets a repetition be recognised. None of them ever stands in a URL,
    where logs would keep it.
    """
    given = _unquoted(request, PROOF_HEADER)
    user = _unquoted(request, USER_HEADER) or ""
    if len(user) > USER_CHARACTERS_MAX or not user.isprintable():
        raise BadRequest(f"{USER_HEADER} has at most {USER_CHARACTERS_MAX} printable characters")
    return Caller(token if given is None else given, user, _operation(request))


def _unquoted(request: web.Request, header: str) -> str | None:
    text = request.headers.get(header)
    try:
        return None if text is None else unquote(text, errors="surrogatepass")
    except UnicodeDecodeError:
        raise BadRequest(f"{header} is not percent-encoded UTF-8") from None


def _operation(request: web.Request) -> tuple[str, int] | None:
    text = request.headers.get(OPERATION_HEADER)
    if text is None:
        return None
    found = _OPERATION.fullmatch(text)
    if found is None:
        raise BadRequest(f"{OPERATION_HEADER} is <session>/<number>, not {text[:40]!r}")
    return found[1], int(found[2])


def query_int(request: web.Request, name: str, default: int, *, most: int) -> int:
    """A whole number between 0 and `most` from the query."""
    text = request.query.get(name, str(default))
    if not text.isdecimal() or len(text) > 18:
        raise BadRequest(f"{name} is a whole number, not {text[:40]!r}")
    return min(int(text), most)


def query_seconds(request: web.Request, name: str, default: float, *, most: float) -> float:
    """A span in seconds between 0 and `most` from the query."""
    text = request.query.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise BadRequest(f"{name} is a number of seconds, not {text[:40]!r}")
    return min(value, most)


def query_flag(request: web.Request, name: str) -> bool:
    """Whether a flag is set in the query, as `1` or `true`."""
    return request.query.get(name, "") in ("1", "true")
