"""The sizes that the whole room agrees on.

A packet fits the smallest path that is common today (1500 bytes less tunnels), so that nothing is
ever fragmented. Read `seal.py` for what the sealing bytes are, `broadcast.py` for who may fill the
payload.
"""

from __future__ import annotations

from typing import Final

PACKET_BYTES_MAX: Final = 1400
"""What goes on the wire, sealing included."""

HEADER_BYTES: Final = 1 + 1 + 20 + 8 + 8
"""Version, key check, sender, boot salt, counter."""

TAG_BYTES: Final = 16
"""What AES-GCM appends."""

PAYLOAD_BYTES_MAX: Final = PACKET_BYTES_MAX - HEADER_BYTES - TAG_BYTES - 1
"""What one channel may send in one packet; the last byte taken off names the channel."""

BODY_BYTES_MAX: Final = 180
"""No body of a gossip packet is longer than this; the rest belongs to updates."""

UPDATE_OVERHEAD_BYTES: Final = 3
"""CBOR's length prefix of one update inside a packet."""

EXCHANGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A push-pull request or answer longer than this is refused undecoded."""

BUCKETS: Final = "abcdefghijklmnopqrstuvwxyz234567"
"""Rosters are compared in parts: all whose id begins with the same character are one bucket."""

SUM_BYTES: Final = 8
SUMS_BYTES: Final = SUM_BYTES * len(BUCKETS)
"""What the sums of all buckets take of a message."""

METADATA_KEY_BYTES_MAX: Final = 32
METADATA_VALUE_BYTES_MAX: Final = 512
METADATA_KEYS_MAX: Final = 16
"""Metadata is for a handful of small facts about a node; anything bigger is fetched over TCP."""

INCARNATION_JUMP_MAX: Final = 1 << 16
"""An accusation further ahead of what we know is refused: nobody is refuted that often, and
without the limit one forged packet could drive a node to the end of its numbers."""

COUNT_MAX: Final = (1 << 32) - 1
"""Largest generation, incarnation, version and sequence number on the wire."""
