"""One kept-alive HTTP connection to one node, plain or pinned to a cluster.

Pinning: the authority's certificate is fetched over an unchecked connection, compared with the
fingerprint of the client string, and from then on OpenSSL checks every node against it. Nothing
secret is sent before that.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import BinaryIO

from peerdisco.addresses import Address, format_address
from peerdisco.client.errors import WrongCluster

CONNECT_TIMEOUT_S = 3.0
SEND_BLOCK_BYTES = 1 << 20
PEM_BYTES_MAX = 64 * 1024
LINE_BYTES_MAX = 64 * 1024
FIELDS_MAX = 100
HTTP_1_0, HTTP_1_1 = 10, 11
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)

Body = bytes | Callable[[], BinaryIO]
"""What is sent: bytes, or a way to open a binary file that knows its length, once per attempt."""

NETWORK_ERRORS = (OSError, http.client.HTTPException)
"""What `http.client` raises when the peer or the way to it is gone."""


class Fields(dict[str, str]):
    """The fields of a head, by their names in lower case."""

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]  # a narrower one
        """The value of a field, whatever the case of its name."""
        return super().get(name.lower(), default)


class Answer(http.client.HTTPResponse):
    """`http.client`'s, but for the head: its parser of e-mails costs more than the exchange."""

    def begin(self) -> None:
        """Read the head."""
        assert self.fp is not None
        status = HTTPStatus.CONTINUE.value
        while status == HTTPStatus.CONTINUE.value:
            self.version, status, self.reason = _status(self._line())
            fields = Fields()
            while line := self._line().strip():
                name, _, value = line.partition(":")
                fields[name.strip().lower()] = value.strip()
                if len(fields) > FIELDS_MAX:
                    raise http.client.HTTPException(f"more than {FIELDS_MAX} fields in a head")
        self.code = self.status = status
        self.headers = self.msg = fields  # type: ignore[assignment]  # what is used of it is there
        self.chunked = fields.get("transfer-encoding").lower() == "chunked"
        self.chunk_left = None
        told, connection = fields.get("content-length"), fields.get("connection").lower()
        empty = status in BODILESS or self._method == "HEAD"  # type: ignore[attr-defined]  # set by the library
        length = 0 if empty else int(told) if told.isdecimal() and not self.chunked else None
        self.length = length
        self.will_close = (
            "close" in connection
            or (self.version == HTTP_1_0 and "keep-alive" not in connection)
            or (length is None and not self.chunked)
        )

    def _line(self) -> str:
        line = self.fp.readline(LINE_BYTES_MAX + 1)
        if len(line) > LINE_BYTES_MAX:
            raise http.client.LineTooLong("head")
        if not line:
            raise http.client.RemoteDisconnected("closed the connection without an answer")
        return line.decode("latin-1")


class Connection(http.client.HTTPConnection):
    """`http.client`, with the cluster's TLS when a context is given."""

    response_class = Answer

    def __init__(self, address: Address, context: ssl.SSLContext | None) -> None:
        super().__init__(
            address[0], address[1], timeout=CONNECT_TIMEOUT_S, blocksize=SEND_BLOCK_BYTES
        )
        self.address = address
        self._context = context

    def connect(self) -> None:
        """Open the socket. Certificates name nodes, not hosts, so the host does not matter."""
        super().connect()
        if self._context is not None:
            name = None
            if self._context.check_hostname:
                from peerdisco.security.certificates import ANY_NODE

                name = ANY_NODE
            self.sock = self._context.wrap_socket(self.sock, server_hostname=name)

    def exchange(
        self, method: str, path: str, body: Body, headers: Mapping[str, str], timeout_s: float
    ) -> http.client.HTTPResponse:
        """Send a request and read the head of the answer; `timeout_s` without progress at most."""
        if self.sock is None:
            self.timeout = min(CONNECT_TIMEOUT_S, timeout_s)
            self.connect()
        assert self.sock is not None
        self.sock.settimeout(timeout_s)
        if isinstance(body, bytes):
            return self._exchange_small(method, path, body, headers)
        with body() as content:
            try:
                length = str(_length(content))
                self.request(method, path, content, {**headers, "Content-Length": length})
            except (BrokenPipeError, ConnectionResetError):
                # A node that refuses a body answers before it has read it all.
                pass
        return self.getresponse()

    def _exchange_small(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Head and body in one piece, which costs the node one wake-up and not two."""
        assert self.sock is not None
        fields = {"Host": format_address(self.address), **headers, "Content-Length": str(len(body))}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header has one line")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(head + body)
        response = Answer(self.sock, method=method)
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        return response


def _status(line: str) -> tuple[int, int, str]:
    """Version (10 or 11), status and reason of the first line of a head."""
    version, _, rest = line.strip().partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or len(code) != len("200") or not code.isdecimal():
        raise http.client.BadStatusLine(line)
    return HTTP_1_0 if version == "HTTP/1.0" else HTTP_1_1, int(code), reason


def _length(file: BinaryIO) -> int:
    start = file.tell()
    length = file.seek(0, 2) - start
    file.seek(start)
    return length


def unchecked_context() -> ssl.SSLContext:
    """A context that accepts anybody: for asking who is there, never for anything secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def pinned_context(address: Address, fingerprint: str) -> ssl.SSLContext:
    """A context that accepts the nodes of that cluster only. Raises WrongCluster or OSError."""
    from peerdisco.security.certificates import fingerprint as fingerprint_of

    connection = Connection(address, unchecked_context())
    try:
        response = connection.exchange("GET", "/ca.pem", b"", {}, CONNECT_TIMEOUT_S)
        pem = response.read(PEM_BYTES_MAX).decode("ascii", "replace")
    finally:
        connection.close()
    try:
        found = fingerprint_of(ssl.PEM_cert_to_DER_cert(pem))
    except ValueError:
        found = ""
    if found != fingerprint:
        raise WrongCluster(
            f"{format_address(address)} does not belong to the cluster of the client string. "
            "Make a new one there with `peerdisco token create`, if you trust it."
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=pem)
    return context
