"""Mutual TLS 1.3 between peers: each proves possession of the key behind its node id."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from peerdisco.security.certificates import (
    authority_certificate,
    certificate_node_id,
    node_certificate,
    private_key_pem,
)
from peerdisco.security.secrets import ClusterSecret

IDENTITIES_MAX = 4096
"""Certificates whose node id is remembered."""


class MutualTls:
    """The TransportSecurity of real nodes."""

    def __init__(self, secret: bytes, private_key: bytes) -> None:
        self._secret = ClusterSecret(secret)
        self._private_key = private_key
        self._identities: OrderedDict[bytes, str | None] = OrderedDict()

    def server_context(self) -> ssl.SSLContext:
        """See TransportSecurity. A caller without a certificate gets in, and proves nothing."""
        context = _context(ssl.PROTOCOL_TLS_SERVER, self._secret, self._private_key)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client_context(self) -> ssl.SSLContext:
        """See TransportSecurity. The caller names the node it wants as the server host name."""
        return _context(ssl.PROTOCOL_TLS_CLIENT, self._secret, self._private_key)

    def browser_context(self, hosts: Sequence[str]) -> ssl.SSLContext:
        """See TransportSecurity. Clients prove themselves by tokens, not by certificates."""
        return _context(ssl.PROTOCOL_TLS_SERVER, self._secret, self._private_key, hosts)

    def request_headers(self, server: str) -> Mapping[str, str]:
        """See TransportSecurity: the certificates say it all."""
        del server
        return {}

    def identify(self, headers: Mapping[str, str], connection: ssl.SSLObject | None) -> str | None:
        """See TransportSecurity."""
        del headers
        certificate = connection.getpeercert(binary_form=True) if connection else None
        if certificate is None:
            return None
        if certificate not in self._identities:
            self._identities[certificate] = certificate_node_id(certificate)
            if len(self._identities) > IDENTITIES_MAX:
                self._identities.popitem(last=False)
        return self._identities[certificate]


def _context(
    protocol: ssl._SSLMethod, secret: ClusterSecret, private_key: bytes, hosts: Sequence[str] = ()
) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority = authority_certificate(secret).public_bytes(Encoding.PEM)
    context.load_verify_locations(cadata=authority.decode())
    certificate = node_certificate(secret, private_key, hosts).public_bytes(Encoding.PEM)
    with _private_file(private_key_pem(private_key) + certificate) as path:
        context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def _private_file(content: bytes) -> Iterator[Path]:
    """A file that only this user may read, for the moment in which OpenSSL loads it."""
    descriptor, name = tempfile.mkstemp(prefix="peerdisco-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        yield Path(name)
    finally:
        Path(name).unlink()
