"""What a tag may want for its blobs, and which nodes shall therefore have copies of them.

A tag's attribute `ddfs:replicas` says how many copies there shall be of what it names; of several
tags the largest number counts, and a tag without the attribute means the layout's own number. Homes
keep the number in the row of the blob. Of fewer copies the first homes have one each; of more, the
next nodes in the blob's own order have the others. Depends on the layout and the number only.

The attribute `ddfs:durability` says what a put for the tag waits for.
"""

from __future__ import annotations

from collections.abc import Mapping

from peerdisco_dht.blobs.acknowledgement import Durability, rank
from peerdisco_dht.blobs.identity import partition_of_blob
from peerdisco_dht.errors import Limit
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.layout import REPLICAS_MAX, NodeState
from peerdisco_dht.ports import NodeId

ATTRIBUTE = "ddfs:replicas"
DURABILITY = "ddfs:durability"
USUAL = 0
"""The layout's own number of copies."""


def check_replicas(value: str) -> int:
    """The number of copies that an attribute asks for; raises Limit."""
    if not (value.isascii() and value.isdecimal() and 1 <= int(value[:4]) <= REPLICAS_MAX):
        raise Limit(f"{ATTRIBUTE} is a number from 1 to {REPLICAS_MAX}, not {value!r:.40}")
    return int(value)


def check_setting(key: str, value: str) -> None:
    """Raises Limit when an attribute is one of those here, and its value makes no sense."""
    if key == ATTRIBUTE:
        check_replicas(value)
    if key == DURABILITY and value not in list(Durability):
        raise Limit(f"{DURABILITY} is {', '.join(Durability)}, not {value!r:.40}")


def durability_of(attributes: Mapping[str, str]) -> Durability:
    """What a put for a tag with these attributes waits for."""
    value = attributes.get(DURABILITY, "")
    return Durability(value) if value in list(Durability) else Durability.QUORUM


def replicas_of(attributes: Mapping[str, str]) -> int:
    """What the attributes of a tag ask for; USUAL when they say nothing that can be understood."""
    try:
        return check_replicas(attributes[ATTRIBUTE])
    except (KeyError, Limit):
        return USUAL


class Wanted:
    """Computes it for the layout of this node."""

    def __init__(self, keeper: LayoutKeeper) -> None:
        self._keeper = keeper

    def nodes(self, blob: str, replicas: int) -> tuple[NodeId, ...]:
        """Who shall have a copy, first choice first; empty without a layout."""
        home = self._keeper.home(partition_of_blob(blob))
        if replicas == USUAL or not home:
            return home
        if replicas <= len(home):
            return home[:replicas]
        return (*home, *self.others(blob)[: replicas - len(home)])

    def others(self, blob: str) -> list[NodeId]:
        """All nodes that hold data and are no homes of the blob, in its own order."""
        home = self._keeper.home(partition_of_blob(blob))
        nodes = [node.id for node in self._keeper.layout.nodes if node.state is NodeState.UP]
        return sorted(
            (node for node in nodes if node not in home), key=lambda node: rank(blob, node)
        )

    def defers(self, node: NodeId, peer: NodeId, blob: str) -> bool:
        """Whether a node takes over the number of a blob from a peer: only homes know it."""
        home = self._keeper.home(partition_of_blob(blob))
        return node not in home and peer in home

    def count(self, replicas: int) -> int:
        """How many copies a number means now."""
        return replicas if replicas != USUAL else self._keeper.layout.replicas
