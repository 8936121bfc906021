"""The 160-bit key space that nodes, blobs and names share, and its 4096 partitions.

Pure functions. Which nodes a partition lives on is the business of `placement.py`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from peerdisco_dht.messages import BadMessage

KEY_BYTES = 20
PARTITION_BITS = 12
PARTITIONS = 1 << PARTITION_BITS


def key_of_name(name: str) -> bytes:
    """The key of a register: the first 160 bits of its name's SHA-256."""
    return hashlib.sha256(name.encode()).digest()[:KEY_BYTES]


def partition_of_key(key: bytes) -> int:
    """The partition that a key lies in: its first 12 bits."""
    return key[0] << 4 | key[1] >> 4


def partition_of_name(name: str) -> int:
    """The partition of a register's name."""
    return partition_of_key(key_of_name(name))


def key_of_node(node: str) -> bytes:
    """The 160 bits of a printed node id; raises BadMessage when it is none."""
    try:
        key = base64.b32decode(node.upper())
    except (binascii.Error, ValueError):
        raise BadMessage(f"not a node id: {node!r:.80}") from None
    if len(key) != KEY_BYTES:
        raise BadMessage(f"not a node id: {node!r:.80}")
    return key


def node_of_key(key: bytes) -> str:
    """The printed form of a node's 160 bits."""
    return base64.b32encode(key).decode().lower()
