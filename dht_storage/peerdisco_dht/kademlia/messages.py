"""What Kademlia says in its datagrams (channel 1). The transport authenticates every sender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from peerdisco_dht.keys import KEY_BYTES
from peerdisco_dht.messages import BadMessage, Message, encode

NODES_BYTES_MAX = 1100
"""Size of an encoded Nodes message; farther contacts are left out to stay below it."""


class Contact(NamedTuple):
    """A node and where it receives datagrams."""

    key: bytes
    host: str
    port: int


class Ping(Message, frozen=True, array_like=True, tag="ping"):
    """Are you there?"""

    request: int


class Pong(Message, frozen=True, array_like=True, tag="pong"):
    """Yes."""

    request: int


class FindNode(Message, frozen=True, array_like=True, tag="find_node"):
    """Whom do you know near this key?"""

    request: int
    target: bytes


class Nodes(Message, frozen=True, array_like=True, tag="nodes"):
    """The nearest that I know, nearest first."""

    request: int
    contacts: tuple[Contact, ...]


class FindHome(Message, frozen=True, array_like=True, tag="find_home"):
    """Where does the layout put this key?"""

    request: int
    target: bytes


class Home(Message, frozen=True, array_like=True, tag="home"):
    """The home set under my layout; epoch 0 when I know none."""

    request: int
    epoch: int
    nodes: tuple[str, ...]


Datagram = Ping | Pong | FindNode | Nodes | FindHome | Home


def encode_nodes(request: int, contacts: Sequence[Contact]) -> bytes:
    """An encoded Nodes message with as many contacts as fit into a datagram."""
    while True:
        data = encode(Nodes(request, tuple(contacts)))
        if len(data) <= NODES_BYTES_MAX or not contacts:
            return data
        contacts = contacts[:-1]


def check_key(key: bytes) -> bytes:
    """The key, if it has 160 bits; raises BadMessage."""
    if len(key) != KEY_BYTES:
        raise BadMessage("a key has 160 bits")
    return key
