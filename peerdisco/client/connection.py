"""One kept-alive HTTP connection to one node, plain or pinned to a cluster.

Pinning: the authority's certificate is fetched over an unchecked connection, compared with the
fingerprint of the client string, and from then on OpenSSL checks every node against it. Nothing
secret is sent before that.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from typing import BinaryIO

from peerdisco.addresses import Address, format_address
from peerdisco.client.errors import WrongCluster

CONNECT_TIMEOUT_S = 3.0
SEND_BLOCK_BYTES = 1 << 20
PEM_BYTES_MAX = 64 * 1024

Body = bytes | Callable[[], BinaryIO]
"""What is sent: bytes, or a way to open a binary file that knows its length, once per attempt."""

NETWORK_ERRORS = (OSError, http.client.HTTPException)
"""What `http.client` raises when the peer or the way to it is gone."""


class Connection(http.client.HTTPConnection):
    """`http.client`, with the cluster's TLS when a context is given."""

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
        content = body if isinstance(body, bytes) else body()
        length = len(content) if isinstance(content, bytes) else _length(content)
        try:
            self.request(method, path, content or None, {**headers, "Content-Length": str(length)})
        except (BrokenPipeError, ConnectionResetError):
            # A node that refuses a body answers before it has read it all.
            pass
        finally:
            if not isinstance(content, bytes):
                content.close()
        return self.getresponse()


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
