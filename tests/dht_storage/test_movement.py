"""What a change of the layout moves: told before, and done before anything is dropped."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from peerdisco_dht import NodeState, RemoveNodes, SetReplicas, SetState
from peerdisco_dht.keys import PARTITIONS
from peerdisco_dht.movement import between

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, World


def test_a_movement_counts_what_new_homes_receive() -> None:
    before = [("a", "b")] * PARTITIONS
    after = [("a", "b"), ("a", "c"), ("c", "b"), *[("a", "b")] * (PARTITIONS - 3)]
    moved = between(tuple(before), tuple(after), {1: (2, 10), 2: (1, 5), 3: (9, 99)})
    assert (moved.partitions, moved.blobs_moved, moved.bytes_moved) == (2, 3, 15)
    c = moved.shares[2]
    assert (c.node, c.partitions_before, c.partitions_after, c.bytes_in) == ("c", 0, 2, 15)
    assert moved.homes == 2 * PARTITIONS


def test_a_dry_run_tells_exactly_what_a_drain_then_moves(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        data = [random.Random(n).randbytes(1000 + 70_000 * (n % 2)) for n in range(60)]
        blobs = [(await cluster[0].storage.blobs.put_bytes(each)).id for each in data]
        await cluster.eventually(lambda: all(len(cluster.replicas(b)) >= 3 for b in blobs))
        leaving = cluster[3].id
        command = SetState(leaving, NodeState.DRAINING)
        plan = await cluster[1].storage.movement(command)
        mine = [b for b in blobs if leaving in cluster[0].storage.blobs.home(b)]
        sizes = {b: len(each) for b, each in zip(blobs, data, strict=True)}
        assert plan.bytes_moved == sum(sizes[b] for b in mine) > 0
        assert plan.blobs_moved == len(mine)
        assert next(s for s in plan.shares if s.node == leaving).partitions_after == 0
        assert cluster.layout.node(leaving).state is NodeState.UP  # type: ignore[union-attr]  # it is there

        before = {b: cluster.replicas(b) for b in blobs}
        cluster.change(command)
        await cluster.hand_over()

        def drained() -> bool:
            for blob in blobs:
                holders = cluster.replicas(blob)
                kept = [n for n in before[blob] if n in holders]
                assert len(kept) >= 2, "copies are dropped only when the new ones are there"
            return not any(leaving in cluster.replicas(b) for b in mine)

        await cluster.eventually(drained, 300)
        census = await cluster[0].storage.health.census()
        assert census.holdings[leaving].replicas == census.holdings[leaving].leaving == (0, 0)
        assert census.silent == ()
        for blob in blobs:
            assert set(cluster[0].storage.blobs.home(blob)) <= set(cluster.replicas(blob))

    world(story, 5)


def test_an_impossible_change_says_why(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        plan = await cluster[0].storage.movement(SetState("nobody", NodeState.GONE))
        assert "no node nobody" in plan.refused
        everybody = RemoveNodes(tuple(node.id for node in cluster.layout.nodes))
        assert "at least one node" in (await cluster[0].storage.movement(everybody)).refused
        more = await cluster[0].storage.movement(SetReplicas(5))
        assert more.partitions == PARTITIONS

    world(story, 4)
