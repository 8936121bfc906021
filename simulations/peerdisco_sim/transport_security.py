"""Peers that prove who they are without TLS, whose randomness cannot be replayed.

A caller names its node id and shows a MAC of it under a key derived from the cluster secret: who
does not know the secret proves nothing. It does not bind the proof to the connection, as TLS does;
that is what the scenario under real TLS is for.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Mapping, Sequence

from peerdisco.security.secrets import ClusterSecret, node_id_of_private

NODE_HEADER = "X-Peerdisco-Node"
PROOF_HEADER = "X-Peerdisco-Proof"


class PlaintextSecurity:
    """See `peerdisco.machine.TransportSecurity`."""

    def __init__(self, secret: bytes, private_key: bytes) -> None:
        self._key = ClusterSecret(secret).plaintext_key
        node = node_id_of_private(private_key)
        self._headers = {NODE_HEADER: node, PROOF_HEADER: self._proof(node)}

    def server_context(self) -> ssl.SSLContext | None:
        """None: plaintext."""
        return None

    def client_context(self) -> ssl.SSLContext | None:
        """None: plaintext."""
        return None

    def browser_context(self, hosts: Sequence[str]) -> ssl.SSLContext | None:
        """None: plaintext."""

    def request_headers(self) -> Mapping[str, str]:
        """The caller's node id and its proof."""
        return self._headers

    def identify(self, headers: Mapping[str, str], connection: ssl.SSLObject | None) -> str | None:
        """The node id, when the proof is right."""
        del connection
        node = headers.get(NODE_HEADER, "")
        proof = headers.get(PROOF_HEADER, "")
        if not hmac.compare_digest(proof.encode(), self._proof(node).encode()):
            return None
        return node

    def _proof(self, node: str) -> str:
        return hmac.new(self._key, node.encode(), hashlib.sha256).hexdigest()
