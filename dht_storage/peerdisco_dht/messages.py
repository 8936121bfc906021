"""The codec of this package, and the base of everything that it puts on a wire or a disk.

Every message is a frozen Struct carried as a CBOR array: fields are appended with a default and
never reordered. The Structs stand beside the code that owns them (`layout.py`,
`blobs/messages.py`, `registers/messages.py`, `tags/head.py`, `kademlia/messages.py`); this module
only turns them into bytes and back, and `BadMessage` is the one error of doing so.
"""

from __future__ import annotations

from typing import TypeVar

import cbor2
import msgspec

T = TypeVar("T")


class BadMessage(ValueError):
    """Bytes that are not the message they should be. Nothing was changed."""


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=False):
    """Base of every message; unknown trailing fields of a newer version are ignored."""


def encode(message: object) -> bytes:
    """The CBOR bytes of a message."""
    return cbor2.dumps(msgspec.to_builtins(message, builtin_types=(bytes,)))


def decode(data: bytes, kind: type[T]) -> T:
    """The message of the given kind in CBOR bytes; raises BadMessage for anything else."""
    return convert(load(data), kind)


def load(data: bytes) -> object:
    """The plain value in CBOR bytes; raises BadMessage when there is none."""
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise BadMessage(f"not CBOR: {error}") from None


def convert(value: object, kind: type[T]) -> T:
    """The message of the given kind in a plain value; raises BadMessage for anything else."""
    try:
        return msgspec.convert(value, kind, builtin_types=(bytes,))
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise BadMessage(f"not a {getattr(kind, '__name__', kind)}: {error}") from None
