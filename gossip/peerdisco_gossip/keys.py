"""The cluster's gossip keys and what is derived from them.

No key of the ring ever encrypts anything itself: each sender derives a sub-key from it for every
start (HKDF over its id and a fresh salt), so a counter can be the nonce and no nonce is ever used
twice, not even when a disk image is restored. Rotation: install the new key second everywhere,
then first everywhere, then drop the old one. Read `seal.py` for how packets use this.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
SALT_BYTES: Final = 8
ID_BYTES: Final = 20
KEYS_MAX: Final = 8
_IDS_CACHED_MAX: Final = 16_384


def id_to_bytes(node_id: str) -> bytes:
    """The 20 bytes of a printed node id; raises ValueError when it is none."""
    raw = base64.b32decode(node_id.upper())
    if len(raw) != ID_BYTES or node_id != id_from_bytes(raw):
        raise ValueError(f"{node_id!r} is not a node id")
    return raw


@functools.lru_cache(_IDS_CACHED_MAX)  # every packet carries one
def id_from_bytes(raw: bytes) -> str:
    """The printed form of a node id: 32 lower-case base32 characters."""
    return base64.b32encode(raw).decode("ascii").lower()


@dataclass(frozen=True, slots=True)
class GossipKey:
    """One cluster-wide key.

    Attributes:
        secret: 32 bytes, never printed.
        check: One byte derived from the secret; packets carry it, so that a receiver with several
            keys knows which to try. It reveals nothing useful about a random key.
    """

    secret: bytes
    check: int

    def __repr__(self) -> str:
        return f"GossipKey(check={self.check})"


def _derive(secret: bytes, info: bytes, length: int) -> bytes:
    hkdf = HKDF(algorithm=hashes.SHA256(), length=length, salt=b"peerdisco gossip", info=info)
    return hkdf.derive(secret)


class KeyRing:
    """Up to eight keys: packets are sealed with the first and opened with any."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys: tuple[GossipKey, ...] = ()
        self._by_check: dict[int, tuple[GossipKey, ...]] = {}
        self.replace(secrets)

    def replace(self, secrets: Sequence[bytes]) -> None:
        """Install these keys instead; raises ValueError and changes nothing when they are bad."""
        if not 1 <= len(secrets) <= KEYS_MAX:
            raise ValueError(f"a key ring holds 1 to {KEYS_MAX} keys")
        if any(len(secret) != KEY_BYTES for secret in secrets):
            raise ValueError(f"a gossip key has {KEY_BYTES} bytes")
        self._keys = tuple(
            GossipKey(bytes(secret), _derive(secret, b"check", 1)[0]) for secret in secrets
        )
        self._by_check = {
            key.check: tuple(each for each in self._keys if each.check == key.check)
            for key in self._keys
        }

    @property
    def first(self) -> GossipKey:
        """The key that seals."""
        return self._keys[0]

    def matching(self, check: int) -> tuple[GossipKey, ...]:
        """The keys that a packet with this check byte may be sealed with."""
        return self._by_check.get(check, ())


def sub_key(key: GossipKey, sender: bytes, salt: bytes) -> AESGCM:
    """The cipher of one sender for one of its starts."""
    assert len(sender) == ID_BYTES
    assert len(salt) == SALT_BYTES
    return AESGCM(_derive(key.secret, b"sender" + sender + salt, KEY_BYTES))
