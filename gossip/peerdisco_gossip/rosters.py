"""How two nodes find out what differs between their views, without sending them.

A push-pull begins with the sums of the asker's buckets: for each first character of an id, the
exclusive or of the fingerprints of all members whose id begins with it (`members.py` keeps them).
Where the sums are equal the views are, and of a thousand members that agree a quarter of a kilobyte
travels. Of the others both sides send their rows, and merge them as they merge a whole roster
(`ledger.py`).
"""

from __future__ import annotations

from hashlib import blake2b

import cbor2

from peerdisco_gossip.limits import BUCKETS, SUM_BYTES, SUMS_BYTES

Facts = tuple[str, int, int, int, str, int, tuple[tuple[str, tuple[int, bytes]], ...]]
"""What a member's row says, but for `back_in_s` and `absent_s`, which change by themselves."""


def fingerprint(facts: Facts) -> int:
    """A number that differs when what is believed of a member differs."""
    return int.from_bytes(blake2b(cbor2.dumps(facts), digest_size=SUM_BYTES).digest(), "big")


def differing(mine: bytes, theirs: bytes) -> str:
    """The buckets whose sums are not equal; all of them when the other's are not whole."""
    if len(theirs) != SUMS_BYTES:
        return BUCKETS
    return "".join(
        bucket
        for number, bucket in enumerate(BUCKETS)
        if mine[(at := number * SUM_BYTES) : at + SUM_BYTES] != theirs[at : at + SUM_BYTES]
    )
