"""A program outside the cluster that talks REST to any of its nodes.

It runs on a machine of its own and reaches each node's loopback listener as through an SSH tunnel.
Every outcome is told apart, since checkers depend on it: an answer, a refusal (nothing changed),
`Unavailable` (certainly nothing happened) and `Unknown` (nobody knows whether it did).
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import msgspec

from peerdisco_sim.daemon import HTTP_PORT

if TYPE_CHECKING:
    from peerdisco_sim.arena import Arena
    from peerdisco_sim.node import SimNode

T = TypeVar("T")

ANSWER_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 2.0
PATIENCE_S = 60.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.05, 1.0
_BIG_BYTES = 1 << 20
_READS = ("GET", "HEAD")
_HEADERS = {"Host": f"127.0.0.1:{HTTP_PORT}", "X-Peerdisco": "simulation"}


class ClientError(Exception):
    """A request that brought no answer."""


class Refused(ClientError):
    """A node understood the request and said no; nothing was changed.

    Attributes:
        status: HTTP status, 400 to 499.
        body: What the node said.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:300].decode(errors='replace')}")
        self.status = status
        self.body = body


class Unavailable(ClientError):
    """No node took the request; certainly nothing happened. For reads also: nobody answered."""


class Unknown(ClientError):
    """The request may or may not have been carried out, or may still be."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with a status below 400.

    Attributes:
        status: HTTP status.
        body: All of it.
        node: Who answered.
    """

    status: int
    body: bytes
    node: str


class Client:
    """REST from one machine. All methods run in that machine's loop."""

    def __init__(self, arena: Arena, machine: SimNode) -> None:
        self.name = machine.name
        self._arena = arena
        self._draws = arena.world.stream("client", machine.name, len(arena.clients))
        self._session: aiohttp.ClientSession | None = None
        self._preferred = ""
        arena.clients.append(self)

    async def attempt(
        self,
        node: str,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Response:
        """One request to one node, once. Raises Refused, Unavailable or Unknown.

        `path` begins with a slash; `timeout_s` bounds the whole exchange. 503 is Unknown for
        changes: the node gave up on something that it had begun.
        """
        address = self._arena.cluster.node(node).ip
        url = f"http://{address}:{HTTP_PORT}{path}"
        writing = self._arena.writing
        is_write = method not in _READS
        writing[node] = writing.get(node, 0) + is_write
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._open().request(
                    method, url, data=_body(body), headers={**_HEADERS, **(headers or {})}
                ) as response,
            ):
                data = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(f"{node}: {error}") from None
        except (OSError, aiohttp.ClientError) as error:
            raise _no_answer(method, f"{node}: {type(error).__name__} {error}") from None
        finally:
            writing[node] -= is_write
        if response.status < 400:
            return Response(response.status, data, node)
        if response.status < 500:
            raise Refused(response.status, data)
        if response.status == 500:
            detail = f"{method} {path}: {data[:500].decode(errors='replace')}"
            self._arena.fail("internal server error", detail, node)
        raise _no_answer(method, f"{node}: {response.status} {data[:300]!r}")

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        repeatable: bool | None = None,
    ) -> Response:
        """One request to any node, and to the next when it cannot be had there.

        After an unknown outcome it goes on only when `repeatable` (default: for reads); otherwise
        it raises Unknown at once. Raises Refused as soon as a node does, and Unavailable (or
        Unknown, if one attempt was) when patience is over.
        """
        repeatable = method in _READS if repeatable is None else repeatable
        deadline = asyncio.get_running_loop().time() + patience_s
        pause = PAUSE_MIN_S
        unknown: Unknown | None = None
        while True:
            last: ClientError = Unavailable("there is no node")
            for node in self._order():
                try:
                    response = await self.attempt(
                        node, method, path, body=body, headers=headers, timeout_s=timeout_s
                    )
                except Unavailable as error:
                    last = error
                except Unknown as error:
                    if not repeatable:
                        raise
                    last = unknown = error
                else:
                    self._preferred = node
                    return response
                if asyncio.get_running_loop().time() > deadline:
                    raise unknown or last
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MAX_S)

    async def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        value: object = None,
        body: bytes = b"",
        timeout_s: float = ANSWER_TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        repeatable: bool | None = None,
    ) -> T:
        """Like `request`, for an answer in JSON; `value` is sent as JSON, `body` as it is."""
        headers = {} if value is None else {"Content-Type": "application/json"}
        response = await self.request(
            method,
            path,
            body=body if value is None else msgspec.json.encode(value),
            headers=headers,
            timeout_s=timeout_s,
            patience_s=patience_s,
            repeatable=repeatable,
        )
        return msgspec.json.decode(response.body, type=answer)

    def avoid(self) -> None:
        """Begin somewhere else next time: who answered last knows too little."""
        self._preferred = ""

    def abandon(self) -> None:
        """The play is over: whoever drops this, nobody shall complain that it was not closed."""
        session, self._session = self._session, None
        if session is not None and session._connector is not None:
            session._connector._closed = True
            session._connector = None

    def _order(self) -> list[str]:
        """The node that answered last, then the others in random order."""
        names = self._arena.cluster.names
        others = [name for name in names if name != self._preferred]
        self._draws.shuffle(others)
        return [self._preferred, *others] if self._preferred in names else others

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(connect=CONNECT_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            # aiohttp repeats PUT and DELETE on a fresh connection when a kept one breaks; a write
            # carried out twice behind the history's back would make the checkers lie.
            self._session._retry_connection = False
        return self._session


def _no_answer(method: str, reason: str) -> ClientError:
    return Unavailable(reason) if method in _READS else Unknown(reason)


def _body(data: bytes) -> bytes | io.BytesIO | None:
    """What aiohttp sends: it wants big bodies as files."""
    return io.BytesIO(data) if len(data) > _BIG_BYTES else data or None
