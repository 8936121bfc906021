"""Whom a node knows of its cluster."""

from __future__ import annotations

import random
from collections.abc import Callable

from peerdisco.membership import Colleagues
from peerdisco_dht import Layout, StorageNode
from peerdisco_gossip import GossipConfig, Membership, MemberState
from peerdisco_gossip.messages import Roster, Row, encode

ME, A, B = "m" * 32, "a" * 32, "b" * 32


class Silence:
    """A network on which nothing is heard."""

    def send(self, address: tuple[str, int], channel: int, payload: bytes) -> bool:
        return True

    def subscribe(
        self, channel: int, handler: Callable[[str, tuple[str, int], bytes], None]
    ) -> None:
        pass


async def unreachable(address: tuple[str, int], request: bytes, *, timeout: float) -> bytes:
    raise ConnectionRefusedError


async def test_who_holds_data_is_known_before_it_was_met_and_until_it_leaves() -> None:
    membership = Membership(
        ME, 1, ("10.0.0.1", 8990), Silence(), unreachable, GossipConfig(), random.Random(1)
    )
    layout = Layout(epoch=3, nodes=tuple(StorageNode(node) for node in (A, B, ME)))
    colleagues = Colleagues(membership, lambda: layout)
    assert colleagues.alive() == [ME]
    assert colleagues.known() == [A, B, ME]
    row = Row(B, 1, 0, MemberState.LEFT, "10.0.0.2", 8990)
    await membership.answer_exchange(A, encode(Roster(A, (row,))))
    assert colleagues.known() == [A, ME]
