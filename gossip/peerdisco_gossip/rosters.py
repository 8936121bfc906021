"""How two nodes find out what differs between their views, without sending them.

A push-pull begins with the sums of the asker's buckets: for each first character of an id, the
fingerprints of all members whose id begins with it, added without carry. Where the sums are equal
the views are, and of a thousand members that agree a quarter of a kilobyte travels. Of the others
both sides send their rows, and merge them as they merge a whole roster (`ledger.py`).

What takes part: all that a row says but `back_in_s`, which changes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from peerdisco_gossip.limits import BUCKETS, SUM_BYTES, SUMS_BYTES
from peerdisco_gossip.messages import Row, encode


def fingerprint(row: Row) -> int:
    """A number that differs when what is believed of a member differs."""
    return int.from_bytes(blake2b(encode(row), digest_size=SUM_BYTES).digest(), "big")


def sums_of(fingerprints: Iterable[tuple[str, int]]) -> bytes:
    """The sums of all buckets; each fingerprint comes with the id of its member."""
    sums = dict.fromkeys(BUCKETS, 0)
    for node_id, number in fingerprints:
        sums[node_id[0]] ^= number
    return b"".join(number.to_bytes(SUM_BYTES, "big") for number in sums.values())


def differing(mine: bytes, theirs: bytes) -> str:
    """The buckets whose sums are not equal; all of them when the other's are not whole."""
    if len(theirs) != SUMS_BYTES:
        return BUCKETS
    return "".join(
        bucket
        for number, bucket in enumerate(BUCKETS)
        if mine[(at := number * SUM_BYTES) : at + SUM_BYTES] != theirs[at : at + SUM_BYTES]
    )
