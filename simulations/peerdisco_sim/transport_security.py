"""Peers that prove who they are without TLS, whose randomness cannot be replayed.

A caller names its node id and shows a MAC of it under a key derived from the cluster secret: who
does not know the secret proves nothing. It names the node that it means, too, and no other answers,
as no other has the right certificate under TLS. It does not bind the proof to the connection, as
TLS does; that is what the scenario under real TLS is for.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import ssl
from collections.abc import Mapping, Sequence

from peerdisco.security.certificates import ANY_NODE, host_name
from peerdisco.security.secrets import ClusterSecret, node_id_of_private

NODE_HEADER = "X-Peerdisco-Node"
PROOF_HEADER = "X-Peerdisco-Proof"
SERVER_HEADER = "X-Peerdisco-Server"
PROOFS_MAX = 1024


class PlaintextSecurity:
    """See `peerdisco.machine.TransportSecurity`."""

    def __init__(self, secret: bytes, private_key: bytes) -> None:
        self._key = ClusterSecret(secret).plaintext_key
        self._me = node = node_id_of_private(private_key)
        self._proof = functools.lru_cache(PROOFS_MAX)(self._prove)
        self._headers = {NODE_HEADER: node, PROOF_HEADER: self._proof(node)}

    def server_context(self) -> ssl.SSLContext | None:
        """None: plaintext."""
        return None

    def client_context(self) -> ssl.SSLContext | None:
        """None: plaintext."""
        return None

    def browser_context(self, hosts: Sequence[str]) -> ssl.SSLContext | None:
        """None: plaintext."""

    def request_headers(self, server: str) -> Mapping[str, str]:
        """The caller's node id and its proof, and whom it means."""
        return {**self._headers, SERVER_HEADER: server}

    def identify(self, headers: Mapping[str, str], connection: ssl.SSLObject | None) -> str | None:
        """The node id, when the proof is right and this node is meant."""
        del connection
        if headers.get(SERVER_HEADER) not in (host_name(self._me), ANY_NODE):
            return None
        node = headers.get(NODE_HEADER, "")
        proof = headers.get(PROOF_HEADER, "")
        if not hmac.compare_digest(proof.encode(), self._proof(node).encode()):
            return None
        return node

    def _prove(self, node: str) -> str:
        return hmac.new(self._key, node.encode(), hashlib.sha256).hexdigest()
