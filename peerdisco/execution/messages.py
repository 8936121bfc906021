"""What nodes say to each other about segments.

The answer to SegmentRead is a stream: the size of the whole segment (8 bytes, big endian), or
`MISSING`, and then its bytes from the offset on.
"""

from __future__ import annotations

from peerdisco.messages import Message

METHOD = "segments/read"

SIZE_BYTES = 8
MISSING = (1 << 64) - 1


class SegmentRead(Message, frozen=True, array_like=True):
    """Ask for a segment.

    Attributes:
        path: As in its URL.
        offset: The first byte wanted, for going on after a broken connection.
    """

    path: str
    offset: int = 0
