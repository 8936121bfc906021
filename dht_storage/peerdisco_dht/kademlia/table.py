"""The routing table (Maymounkov & Mazieres 2002, sections 2.2 and 4.2): pure.

Buckets and entries are those of the `kademlia` package; the table around them is ours, because
the package's starts tasks by itself, splits by the nodes that happen to be in a bucket instead of
the bucket's range, and finds neighbours only approximately. Here a full bucket answers with the
contact to ping, neighbours are exact, and buckets split by their range.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from kademlia.node import Node
from kademlia.routing import KBucket

from peerdisco_dht.kademlia.messages import Contact
from peerdisco_dht.keys import KEY_BYTES

BUCKET_SIZE = 20
"""The paper's k."""
SPLIT_DEPTH = 5
"""The paper's b: buckets away from us split until their depth is a multiple of it."""
KEY_BITS = 8 * KEY_BYTES


class Table:
    """Contacts, many near us and few far away.

    Args:
        me: Our own key; never in the table.
    """

    def __init__(self, me: bytes) -> None:
        self._me = me
        self._my_number = int.from_bytes(me, "big")
        self._buckets = [KBucket(0, 2**KEY_BITS - 1, BUCKET_SIZE)]

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets)

    def seen(self, contact: Contact) -> Contact | None:
        """Note that a contact was heard from.

        Returns the least recently heard contact of a bucket that is full: ping it, and `lost` it
        when it does not answer, to make room for the new one.
        """
        if contact.key == self._me:
            return None
        node = Node(contact.key, contact.host, contact.port)
        while True:
            index = self._index(node.long_id)
            bucket = self._buckets[index]
            if bucket.add_node(node):
                return None
            if not self._may_split(bucket):
                oldest = bucket.head()
                return Contact(oldest.id, oldest.ip, oldest.port)
            # The newcomer waits among the replacements now and is sorted in by the split.
            self._buckets[index : index + 1] = bucket.split()
            if self._holds(node.long_id, contact.key):
                return None

    def lost(self, key: bytes) -> None:
        """Note that a contact does not answer; a replacement takes its place."""
        node = Node(key)
        self._buckets[self._index(node.long_id)].remove_node(node)

    def nearest(self, target: bytes, count: int, exclude: bytes = b"") -> list[Contact]:
        """The contacts nearest to a key by XOR, nearest first: exact for this table."""
        number = int.from_bytes(target, "big")
        nodes = heapq.nsmallest(
            count,
            (node for node in self._nodes() if node.id != exclude),
            key=lambda node: node.long_id ^ number,
        )
        return [Contact(node.id, node.ip, node.port) for node in nodes]

    def ranges(self) -> list[tuple[int, int]]:
        """The first and last key of each bucket, for refreshing them (section 2.3)."""
        return [(bucket.range[0], bucket.range[1]) for bucket in self._buckets]

    def _nodes(self) -> Iterator[Node]:
        for bucket in self._buckets:
            yield from bucket.nodes.values()

    def _index(self, number: int) -> int:
        return next(i for i, bucket in enumerate(self._buckets) if number <= bucket.range[1])

    def _holds(self, number: int, key: bytes) -> bool:
        return key in self._buckets[self._index(number)].nodes

    def _may_split(self, bucket: KBucket) -> bool:
        low, high = bucket.range
        depth = KEY_BITS - (high - low + 1).bit_length() + 1
        return bool(low <= self._my_number <= high) or depth % SPLIT_DEPTH != 0
