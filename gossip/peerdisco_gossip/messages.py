"""What gossip says on the wire, and the only way in and out of bytes.

A packet is one body (a question or an answer of the failure detector) and as many updates as fit
beside it. Updates travel as separately encoded bytes, so that a rumour is encoded once however
often it is repeated, and so that its size is known before it is chosen. A roster is the full
state that two nodes swap over TCP.

Append fields with a default, never reorder them. The only error is `BadMessage`. The meaning of
the updates is in `ledger.py`, that of the bodies in `detector.py`.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from typing import Annotated, TypeVar

import cbor2
import msgspec

from peerdisco_gossip.limits import (
    COUNT_MAX,
    EXCHANGE_BYTES_MAX,
    METADATA_KEY_BYTES_MAX,
    METADATA_KEYS_MAX,
    METADATA_VALUE_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    SUMS_BYTES,
)

T = TypeVar("T")

NodeId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z2-7]{32}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=METADATA_KEY_BYTES_MAX)]
Value = Annotated[bytes, msgspec.Meta(max_length=METADATA_VALUE_BYTES_MAX)]
Sums = Annotated[bytes, msgspec.Meta(max_length=SUMS_BYTES)]
Buckets = Annotated[str, msgspec.Meta(pattern=r"\A[a-z2-7]{0,32}\Z")]

BACK_IN_S_MAX = 7 * 86400.0
"""Nobody may announce to be back later than in a week."""

TIMEOUT_S_MAX = 60.0
"""No helper waits longer than this for somebody else's probe."""


class BadMessage(ValueError):
    """Bytes that are not the message they should be. Nothing was changed."""


_HOSTS_CACHED_MAX = 16_384
_UPDATES_CACHED_MAX = 2048


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of everything below."""


@functools.lru_cache(_HOSTS_CACHED_MAX)  # each update of a member names the same few addresses
def _check_host(host: str) -> None:
    # A name would make the socket ask DNS, blocking, for whatever a peer made up.
    if "%" in host:
        raise ValueError("an address of a peer has no scope")
    ipaddress.ip_address(host)


def _check_seconds(seconds: float, limit: float) -> None:
    if not 0.0 <= seconds <= limit:  # also refuses NaN
        raise ValueError(f"{seconds} is not between 0 and {limit} seconds")


class Alive(Message, frozen=True, array_like=True, tag=1):
    """The node is up and reachable at this address. Made only by the node itself."""

    id: NodeId
    generation: Count
    incarnation: Count
    host: str
    port: Port

    def __post_init__(self) -> None:
        """Refuse names: only addresses cross the wire."""
        _check_host(self.host)


class Suspect(Message, frozen=True, array_like=True, tag=2):
    """The node did not answer `by`, who asked directly and through others."""

    id: NodeId
    generation: Count
    incarnation: Count
    by: NodeId


class Dead(Message, frozen=True, array_like=True, tag=3):
    """The node was suspected for so long that `by` declares it dead.

    Made by the node itself (`by` is `id`) it means: I stop now. `back_in_s` seconds after it was
    said, the node means to be back; 0 when nobody knows.
    """

    id: NodeId
    generation: Count
    incarnation: Count
    by: NodeId
    back_in_s: float = 0.0

    def __post_init__(self) -> None:
        """Bound the announced absence."""
        _check_seconds(self.back_in_s, BACK_IN_S_MAX)


class Left(Message, frozen=True, array_like=True, tag=4):
    """The node left the cluster for good. Made only by the node itself."""

    id: NodeId
    generation: Count
    incarnation: Count


class Metadata(Message, frozen=True, array_like=True, tag=5):
    """One of the node's own key-value facts; the higher version of a key wins."""

    id: NodeId
    generation: Count
    version: Count
    key: Key
    value: Value


Claim = Alive | Suspect | Dead | Left
"""An update about whether a node is there."""

Update = Alive | Suspect | Dead | Left | Metadata
"""A rumour: what is piggybacked on packets."""


class Ping(Message, frozen=True, array_like=True, tag=1):
    """Are you there?

    Attributes:
        sequence: Repeated in the answer.
        target: Who is meant; somebody else at the same address stays silent.
        generation: The target's generation as the asker knows it.
        digest: Sum of the versions of the target's metadata as the asker knows them. Versions of
            a key only grow, so equal sums mean that nothing is missing.
    """

    sequence: Count
    target: NodeId
    generation: Count
    digest: Count


class Ack(Message, frozen=True, array_like=True, tag=2):
    """The subject is there: said by itself, or by a helper that heard it."""

    sequence: Count
    subject: NodeId


class PingRequest(Message, frozen=True, array_like=True, tag=3):
    """Please ping the target for me.

    `timeout_s` is what remains of the asker's round; the helper answers within a share of it,
    with `Ack` or with `Nack`, so that its silence means that the *asker* has trouble hearing.
    """

    sequence: Count
    target: NodeId
    host: str
    port: Port
    timeout_s: float

    def __post_init__(self) -> None:
        """Refuse names and endless waits."""
        _check_host(self.host)
        _check_seconds(self.timeout_s, TIMEOUT_S_MAX)


class Nack(Message, frozen=True, array_like=True, tag=4):
    """The helper is there and heard nothing of the target so far."""

    sequence: Count


class Gossip(Message, frozen=True, array_like=True, tag=5):
    """Nothing but the updates beside it."""


Body = Ping | Ack | PingRequest | Nack | Gossip
"""What a packet is about."""


class Packet(Message, frozen=True, array_like=True):
    """What one datagram holds: a body, and updates that are already encoded."""

    body: Body
    updates: tuple[bytes, ...] = ()


class Entry(Message, frozen=True, array_like=True):
    """One key of a member's metadata within a roster."""

    key: Key
    version: Count
    value: Value


class Row(Message, frozen=True, array_like=True):
    """One member within a roster; `state` is the value of a `MemberState`.

    `absent_s` is for how long the sender has believed it dead or gone, so that nobody remembers it
    longer for having been told.
    """

    id: NodeId
    generation: Count
    incarnation: Count
    state: Annotated[int, msgspec.Meta(ge=1, le=4)]
    host: str
    port: Port
    back_in_s: float = 0.0
    metadata: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=METADATA_KEYS_MAX)] = ()
    absent_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what an update would refuse."""
        _check_host(self.host)
        _check_seconds(self.back_in_s, BACK_IN_S_MAX)
        _check_seconds(self.absent_s, math.inf)


class Roster(Message, frozen=True, array_like=True):
    """What the sender knows about the members, itself included: everything, or a part.

    Attributes:
        sender: Who knows it.
        rows: One per member.
        sums: With these there are no rows, but a question: which buckets differ? See `rosters.py`.
        buckets: The rows are those of these buckets only, and the answer's are to be the same;
            None means all. In the answer to a question, the buckets that differ, without rows.
    """

    sender: NodeId
    rows: tuple[Row, ...]
    sums: Sums = b""
    buckets: Buckets | None = None


def encode(message: object) -> bytes:
    """The CBOR bytes of a message."""
    return cbor2.dumps(msgspec.to_builtins(message, builtin_types=(bytes,)))


def decode(data: bytes, kind: type[T]) -> T:
    """The message of the given kind in CBOR bytes; raises BadMessage for anything else."""
    try:
        return msgspec.convert(cbor2.loads(data), kind, builtin_types=(bytes,))
    except (msgspec.ValidationError, cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise BadMessage(f"not a {getattr(kind, '__name__', kind)}: {error}") from None


@functools.lru_cache(_UPDATES_CACHED_MAX)  # each rumour is heard from many
def decode_update(data: bytes) -> Update:
    """One update; raises BadMessage."""
    # The checker cannot see a union as `type[T]`; msgspec takes it as it is.
    return decode(data, Update)  # type: ignore[arg-type]  # unions are not types to mypy


def decode_packet(data: bytes) -> tuple[Body, tuple[Update, ...]]:
    """The body and updates of a datagram; one bad update condemns the packet (BadMessage)."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise BadMessage(f"a packet of {len(data)} bytes is too long")
    packet = decode(data, Packet)
    if not packet.updates:
        return packet.body, ()
    return packet.body, tuple(decode_update(update) for update in packet.updates)


def decode_roster(data: bytes) -> Roster:
    """A roster; raises BadMessage, without decoding when it is too long."""
    if len(data) > EXCHANGE_BYTES_MAX:
        raise BadMessage(f"a roster of {len(data)} bytes is too long")
    return decode(data, Roster)
