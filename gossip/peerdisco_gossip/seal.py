"""Sealing and opening of packets: secrecy, attribution and protection against replay.

A packet is `version | key check | sender | boot salt | counter | AES-GCM(payload)`; the clear part
is the associated data and the counter is the nonce under the sender's sub-key. Nothing is
remembered about a packet that does not authenticate, and what is remembered is bounded.

What sealing does not do: the receiver is not part of the packet, so a recorded packet can be
replayed once to a node that never saw it, or to one that restarted since. Every channel must
therefore be safe against old messages (gossip is: its facts are ordered). And whoever holds the
cluster's key can speak in anybody's name; see the README for what such an insider can do.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from peerdisco_gossip.keys import (
    SALT_BYTES,
    GossipKey,
    KeyRing,
    id_from_bytes,
    id_to_bytes,
    sub_key,
)
from peerdisco_gossip.limits import HEADER_BYTES, PACKET_BYTES_MAX, TAG_BYTES

VERSION: Final = 1
WINDOW_PACKETS: Final = 1024
"""A packet may be overtaken by this many of its successors and is still accepted."""

SENDERS_MAX: Final = 16_384
"""Starts of senders that are remembered; the one that was silent longest is forgotten first."""

_HEADER: Final = struct.Struct(">BB20s8sQ")
_NONCE: Final = struct.Struct(">IQ")
_WINDOW_MASK: Final = (1 << WINDOW_PACKETS) - 1

assert _HEADER.size == HEADER_BYTES


@dataclass(slots=True)
class ReplayWindow:
    """Which counters of one sender were seen. Invariant: bit i of `seen` is `highest - i`."""

    highest: int = -1
    seen: int = 0

    def accept(self, counter: int) -> bool:
        """Whether this counter is new; remembers it if so."""
        ahead = counter - self.highest
        if ahead > 0:
            shifted = self.seen << ahead if ahead < WINDOW_PACKETS else 0
            self.seen = (shifted | 1) & _WINDOW_MASK
            self.highest = counter
            return True
        bit = 1 << -ahead if -ahead < WINDOW_PACKETS else 0
        if not bit or self.seen & bit:
            return False
        self.seen |= bit
        return True


@dataclass(slots=True)
class _Sender:
    """What is kept of one start of one sender, after its first genuine packet.

    A sender seals with one key at a time, so the cipher of the last one is enough.
    """

    key: GossipKey
    cipher: AESGCM
    window: ReplayWindow = field(default_factory=ReplayWindow)


class Seal:
    """Seals this node's packets and opens everybody's.

    Args:
        ring: The cluster's keys; may change while in use.
        me: This node's id.
        salt: Eight bytes from the machine's entropy, fresh for every start.
    """

    def __init__(self, ring: KeyRing, me: str, salt: bytes) -> None:
        assert len(salt) == SALT_BYTES
        self._ring = ring
        self._me = id_to_bytes(me)
        self._salt = salt
        self._counter = 0
        self._mine: tuple[GossipKey, AESGCM] | None = None
        self._senders: OrderedDict[bytes, _Sender] = OrderedDict()
        self.stats: dict[str, int] = {"malformed": 0, "forged": 0, "replayed": 0, "opened": 0}

    def seal(self, payload: bytes) -> bytes:
        """The packet that holds this payload; at most `PACKET_BYTES_MAX` long."""
        assert len(payload) <= PACKET_BYTES_MAX - HEADER_BYTES - TAG_BYTES
        key = self._ring.first
        if self._mine is None or self._mine[0] is not key:
            self._mine = (key, sub_key(key, self._me, self._salt))
        counter = self._counter
        self._counter += 1
        header = _HEADER.pack(VERSION, key.check, self._me, self._salt, counter)
        return header + self._mine[1].encrypt(_NONCE.pack(0, counter), payload, header)

    def open(self, packet: bytes) -> tuple[str, bytes] | None:
        """Sender and payload of a genuine packet that was not seen before, else None."""
        if not HEADER_BYTES + TAG_BYTES <= len(packet) <= PACKET_BYTES_MAX:
            return self._refuse("malformed")
        version, check, sender, salt, counter = _HEADER.unpack_from(packet)
        if version != VERSION:
            return self._refuse("malformed")
        boot = sender + salt
        known = self._senders.get(boot)
        header, sealed = packet[:HEADER_BYTES], packet[HEADER_BYTES:]
        for key in self._ring.matching(check):
            is_usual = known is not None and known.key is key
            cipher = known.cipher if known and is_usual else sub_key(key, sender, salt)
            try:
                payload = cipher.decrypt(_NONCE.pack(0, counter), sealed, header)
            except InvalidTag:
                continue
            if not self._remember(boot, key, cipher).window.accept(counter):
                return self._refuse("replayed")
            self.stats["opened"] += 1
            return id_from_bytes(sender), payload
        return self._refuse("forged")

    def _remember(self, boot: bytes, key: GossipKey, cipher: AESGCM) -> _Sender:
        """Keep what is needed of a sender that has just proved genuine, with this key."""
        known = self._senders.get(boot)
        if known is None:
            known = self._senders[boot] = _Sender(key, cipher)
            if len(self._senders) > SENDERS_MAX:
                self._senders.popitem(last=False)
        else:
            known.key, known.cipher = key, cipher
            self._senders.move_to_end(boot)
        return known

    def _refuse(self, reason: str) -> tuple[str, bytes] | None:
        self.stats[reason] += 1
        return None
