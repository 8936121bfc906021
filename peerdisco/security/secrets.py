"""The cluster secret and every key derived from it.

One secret of 32 random bytes stands for a cluster. HKDF-SHA256 (RFC 5869) derives an independent
key for each purpose, so that no key is used for two things and none reveals another.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET_BYTES = 32
NODE_ID_BYTES = 20


@dataclass(frozen=True)
class ClusterSecret:
    """What every node of a cluster knows and nobody else does."""

    raw: bytes

    def __post_init__(self) -> None:
        """Refuse anything but 32 bytes: a short secret is a guessable one."""
        if len(self.raw) != SECRET_BYTES:
            raise ValueError(f"a cluster secret has {SECRET_BYTES} bytes, not {len(self.raw)}")

    def __repr__(self) -> str:
        """The fingerprint, never the secret: this may reach a log."""
        return f"ClusterSecret(id={self.cluster_id})"

    @cached_property
    def gossip_key(self) -> bytes:
        """The key from which senders derive their own keys for datagrams."""
        return self._derive(b"datagrams")

    @cached_property
    def authority_key(self) -> Ed25519PrivateKey:
        """The private key of the cluster's certificate authority."""
        return Ed25519PrivateKey.from_private_bytes(self._derive(b"certificate authority"))

    @cached_property
    def grant_key(self) -> bytes:
        """The key that signs join grants and API tokens."""
        return self._derive(b"grants")

    @cached_property
    def plaintext_key(self) -> bytes:
        """The key that authenticates peers where TLS cannot run (the simulator)."""
        return self._derive(b"authenticated plaintext")

    @cached_property
    def cluster_id(self) -> str:
        """A public name of the cluster that reveals nothing: 16 base32 characters."""
        return base32(self._derive(b"cluster id")[:10])

    def _derive(self, purpose: bytes) -> bytes:
        return HKDF(hashes.SHA256(), 32, salt=None, info=b"peerdisco 1 " + purpose).derive(self.raw)


def node_id(public_key: bytes) -> str:
    """The id of the node with this raw public key: 160 bits of its SHA-256 in base32."""
    return base32(hashlib.sha256(public_key).digest()[:NODE_ID_BYTES])


def node_id_of_private(private_key: bytes) -> str:
    """The id of the node that owns this raw private key."""
    public = Ed25519PrivateKey.from_private_bytes(private_key).public_key()
    return node_id(public.public_bytes(Encoding.Raw, PublicFormat.Raw))


def base32(data: bytes) -> str:
    """Lower-case base32 without padding: safe in host names, paths and speech."""
    return base64.b32encode(data).decode().rstrip("=").lower()
