"""Requests to a cluster: any node will do, and the next one when it dies.

The session starts with the addresses it was given and learns the others from the cluster itself.
Every request may be repeated at another node, since each is idempotent: reads, blobs named by
their content, and changes that the client itself has named. A node that answers for another
cluster than before (a port that was taken over) is passed over.
"""

from __future__ import annotations

import http.client
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

import msgspec

from peerdisco.addresses import Address, format_address, is_loopback
from peerdisco.client.connection import NETWORK_ERRORS, Body, Connection, pinned_context
from peerdisco.client.errors import (
    NoCluster,
    NotFound,
    Refused,
    TokenNeeded,
    Unavailable,
    WrongCluster,
)
from peerdisco.client.target import Target, parse_http
from peerdisco_webui.messages import PROTECTED_TAG, MemberList, MemberState, Problem

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

ANSWER_TIMEOUT_S = 30.0
"""Without a byte from a node for this long it counts as dead."""
PATIENCE_FIRST_S = 2.0
"""How long a cluster that never answered is tried."""
PATIENCE_S = 30.0
"""How long a cluster that did answer is tried, over all its nodes."""
PAUSE_FIRST_S, PAUSE_MAX_S = 0.05, 1.0
LEARN_AGAIN_S = 30.0
LEARN_TIMEOUT_S = 5.0
PEERS_MAX = 64
IDLE_CONNECTIONS_MAX = 8
STATUS_BUSY, STATUS_FULL = 503, 507
CLUSTER_HEADER = "X-Peerdisco-Cluster"


class _Foreign(ConnectionError):
    """Another cluster answers at this address now."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    body: Body
    headers: Mapping[str, str]
    timeout_s: float


class Session:
    """Talks to one cluster. Threads may share it.

    Args:
        target: Where to start.
        patience_s: How long to go on trying once the cluster is known.
    """

    def __init__(self, target: Target, *, patience_s: float = PATIENCE_S) -> None:
        self.target = target
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._addresses = list(target.addresses)
        self._idle: list[Connection] = []
        self._context: ssl.SSLContext | None = None
        self._cluster = ""
        self._learned_at = float("-inf")
        self._interrupt = threading.Event()
        weakref.finalize(self, _close_all, self._idle)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All nodes known, the preferred one first."""
        with self._lock:
            return tuple(self._addresses)

    def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        query: Mapping[str, object] | None = None,
        value: object = None,
        body: Body = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> T:
        """One request whose answer is a Struct; `value` is sent as JSON, `body` as it is.

        Raises NoCluster, Unavailable, NotFound or Refused.
        """
        content = body if value is None else msgspec.json.encode(value)
        with self.stream(
            method,
            path,
            query=query,
            body=content,
            headers=headers,
            timeout_s=timeout_s,
            json=value is not None,
        ) as response:
            data = response.read()
        try:
            return msgspec.json.decode(data, type=answer)
        except msgspec.MsgspecError as error:
            raise Refused(
                response.status, f"the node's answer is not understood; is it newer? ({error})"
            ) from error

    def command(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        value: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """One request without an answer; `value` is sent as JSON. Raises like `call`."""
        content = b"" if value is None else msgspec.json.encode(value)
        with self.stream(
            method, path, query=query, body=content, headers=headers, json=value is not None
        ) as response:
            response.read()

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Body = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
        json: bool = False,
    ) -> Iterator[HTTPResponse]:
        """The successful answer to a request, to be read inside the block."""
        full = {"X-Peerdisco": "1", "Accept": "application/json", **(headers or {})}
        full["Content-Type"] = "application/json" if json else "application/octet-stream"
        if self.target.token:
            full["Authorization"] = f"Bearer {self.target.token}"
        suffix = "?" + urlencode(query) if query else ""
        connection, response = self._send(_Request(method, path + suffix, body, full, timeout_s))
        complete = False
        try:
            yield response
            complete = response.isclosed()
        finally:
            if complete and not response.will_close:
                self._give_back(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close all idle connections. The session can still be used."""
        with self._lock:
            _close_all(self._idle)

    def _send(self, request: _Request) -> tuple[Connection, HTTPResponse]:
        """Try every node, again and again while there is patience."""
        started = time.monotonic()
        pause = PAUSE_FIRST_S
        while True:
            failures: list[str] = []
            wrong: WrongCluster | None = None
            busy: Refused | None = None
            full: Refused | None = None
            for address in self.addresses:
                try:
                    connection, response = self._attempt(address, request)
                except WrongCluster as error:
                    wrong = error
                    continue
                except NETWORK_ERRORS as error:
                    failures.append(f"{format_address(address)}: {self._words(error)}")
                    continue
                if response.status < 400:
                    self._succeeded(address)
                    return connection, response
                refusal = _refusal(response)
                connection.close()
                if response.status == STATUS_BUSY:
                    busy = refusal
                elif response.status == STATUS_FULL:
                    full = refusal
                else:
                    raise refusal
            if full is not None and busy is None:
                raise full  # the nodes that answer have no space, and waiting makes none
            if wrong is not None and not failures and busy is None:
                raise wrong
            known = self._cluster or busy
            patience = self._patience_s if known else min(self._patience_s, PATIENCE_FIRST_S)
            if time.monotonic() - started > patience:
                if busy is not None:
                    raise Unavailable(f"the cluster cannot do this at the moment: {busy}")
                raise wrong or NoCluster(
                    f"no node answers ({'; '.join(failures)}). "
                    "Start one with `peerdisco`, or name one in PEERDISCO."
                )
            self._interrupt.wait(pause)
            pause = min(pause * 2, PAUSE_MAX_S)

    def _words(self, error: Exception) -> str:
        if isinstance(error, http.client.RemoteDisconnected) and not self.target.fingerprint:
            return "closed the connection; if that node serves TLS, use its client string"
        return str(error) or type(error).__name__

    def _attempt(self, address: Address, request: _Request) -> tuple[Connection, HTTPResponse]:
        """One attempt at one node. A kept connection that the node has closed gets a second."""
        kept = self._take(address)
        if kept is not None:
            try:
                return kept, self._exchange(kept, request)
            except (ConnectionError, http.client.HTTPException):
                pass
        connection = Connection(address, self._context_for(address))
        return connection, self._exchange(connection, request)

    def _exchange(self, connection: Connection, request: _Request) -> HTTPResponse:
        """The head of an answer by our cluster; closes the connection on any failure."""
        try:
            response = connection.exchange(
                request.method, request.path, request.body, request.headers, request.timeout_s
            )
            self._check_cluster(response.headers.get(CLUSTER_HEADER, ""))
        except BaseException:
            connection.close()
            raise
        return response

    def _check_cluster(self, cluster: str) -> None:
        if cluster and self._cluster not in ("", cluster):
            raise _Foreign("another cluster answers there")
        self._cluster = self._cluster or cluster

    def _context_for(self, address: Address) -> ssl.SSLContext | None:
        if self.target.fingerprint and self._context is None:
            self._context = pinned_context(address, self.target.fingerprint)
        return self._context

    def _take(self, address: Address) -> Connection | None:
        with self._lock:
            for index, connection in enumerate(self._idle):
                if connection.address == address:
                    return self._idle.pop(index)
        return None

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_CONNECTIONS_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _succeeded(self, address: Address) -> None:
        """Prefer this node from now on, and learn the others while somebody answers."""
        now = time.monotonic()
        with self._lock:
            moved = self._addresses[0] != address
            if moved:
                self._addresses.remove(address)
                self._addresses.insert(0, address)
            if not moved and now < self._learned_at + LEARN_AGAIN_S:
                return
            self._learned_at = now
        self._learn(address)

    def _learn(self, address: Address) -> None:
        """Ask for the members; when that fails, the next answer is another chance."""
        request = _Request("GET", "/api/v1/members", b"", self._plain_headers(), LEARN_TIMEOUT_S)
        try:
            connection, response = self._attempt(address, request)
        except NETWORK_ERRORS:
            return
        try:
            data = response.read()
            if response.status == 200:
                self._adopt(address, msgspec.json.decode(data, type=MemberList))
        except (*NETWORK_ERRORS, msgspec.MsgspecError):
            connection.close()
            return
        self._give_back(connection)

    def _adopt(self, address: Address, answer: MemberList) -> None:
        """Add nodes that are up and reachable from here; a peer's loopback is not ours."""
        living = (MemberState.ALIVE, MemberState.SUSPECT)
        found = [parse_http(m.http) for m in answer.members if m.state in living]
        with self._lock:
            for other in found:
                if other is None or other in self._addresses or len(self._addresses) >= PEERS_MAX:
                    continue
                if not is_loopback(other[0]) or is_loopback(address[0]):
                    self._addresses.append(other)

    def _plain_headers(self) -> dict[str, str]:
        token = self.target.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def _close_all(connections: list[Connection]) -> None:
    """Also called when a session is forgotten, and when the program ends."""
    while connections:
        connections.pop().close()


def _refusal(response: HTTPResponse) -> Refused:
    data = response.read(1 << 20)
    kind = NotFound if response.status == 404 else Refused
    try:
        problem = msgspec.json.decode(data, type=Problem)
        message = problem.detail or problem.title
        kind = TokenNeeded if problem.type == PROTECTED_TAG else kind
    except msgspec.MsgspecError:
        message = f"HTTP {response.status} {response.reason}"
    return kind(response.status, message)
