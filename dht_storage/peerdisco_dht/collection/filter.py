"""A set of blob ids in two bytes each that may say yes too often and never says no wrongly. Pure.

A Bloom filter (Bloom 1970). Garbage that it takes for named is kept until the next generation,
whose filter has another modulus and so other mistakes.
"""

from __future__ import annotations

import struct

from peerdisco_dht.blobs.identity import HASH_BYTES

BITS_PER_ID = 16
BITS_MIN = 1 << 12
PROBES = struct.Struct("<4Q")
"""Ids are hashes already: each quarter of one is a probe."""


class MarkFilter:
    """Ids that were named.

    Args:
        expected: How many different ids will be asked about or added, at least roughly.
        generation: Makes the mistakes of every generation different ones.
    """

    def __init__(self, expected: int, generation: int) -> None:
        bits = max(BITS_MIN, expected * BITS_PER_ID)
        self._modulus = bits + 2 * (generation % 512) + 1
        self._bits = bytearray(self._modulus // 8 + 1)

    def add(self, digest: bytes) -> None:
        """Add the 32 bytes of an id."""
        for word in PROBES.unpack(digest[:HASH_BYTES]):
            bit = word % self._modulus
            self._bits[bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, digest: bytes) -> bool:
        """Whether the id was added, or seems so."""
        return all(
            self._bits[bit >> 3] >> (bit & 7) & 1
            for word in PROBES.unpack(digest[:HASH_BYTES])
            for bit in (word % self._modulus,)
        )
