"""Small pure rules of blobs: identity, pins, acknowledgements; and what crosses the wire."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_dht import BadMessage, BadName, Durability, Layout, StorageNode, decode, encode
from peerdisco_dht.blobs.acknowledgement import Targets, choose_targets
from peerdisco_dht.blobs.identity import (
    CHUNK_BYTES,
    Chunker,
    ChunkList,
    check_id,
    chunk_list_of,
    key_of_blob,
    partition_of_blob,
)
from peerdisco_dht.blobs.messages import BlobRow, Condemned, Keep, Role, Where
from peerdisco_dht.blobs.pins import GONE_MAX, LIVE_MAX, SHARED, Pins, merge, pin, release
from peerdisco_dht.keys import key_of_node, node_of_key, partition_of_key
from peerdisco_dht.layout import Placement
from peerdisco_dht.registers.messages import Accept, Ballot, RegisterValue, Session


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 2 * CHUNK_BYTES + 5), max_size=8), seed=st.integers())
def test_the_id_does_not_depend_on_how_a_stream_is_cut(cuts: list[int], seed: int) -> None:
    data = random.Random(seed).randbytes(2 * CHUNK_BYTES + 5)
    chunker, out = Chunker(), bytearray()
    start = 0
    for end in [*sorted(cuts), len(data)]:
        for parts in chunker.push(data[start:end]):
            assert sum(map(len, parts)) == CHUNK_BYTES
            out += b"".join(parts)
        start = end
    out += b"".join(chunker.finish())
    assert bytes(out) == data
    assert chunker.chunk_list() == chunk_list_of(data)


def test_the_id_names_the_content_and_the_size() -> None:
    chunks = chunk_list_of(b"hello")
    assert check_id(chunks.id) == chunks.id
    assert chunks.matches(chunks.id)
    assert not ChunkList(6, chunks.hashes).matches(chunks.id)
    assert not ChunkList(5, chunks.hashes * 2).matches(chunks.id)
    assert chunks.verifies(0, b"hello")
    assert not chunks.verifies(0, b"hellO")
    assert partition_of_blob(chunks.id) == partition_of_key(key_of_blob(chunks.id))
    assert partition_of_blob(chunks.id) == int(chunks.id[3:6], 16)
    for bad in ("", "b3-", chunks.id[:-1], chunks.id.upper(), chunks.id + "\n", "../../etc"):
        with pytest.raises(BadName):
            check_id(bad)


def test_node_ids_are_printed_in_base32() -> None:
    key = bytes(range(20))
    assert key_of_node(node_of_key(key)) == key
    for bad in ("", "a", "A1" * 16, "ä" * 32):
        with pytest.raises(BadMessage):
            key_of_node(bad)


def test_a_pin_that_was_released_stays_released() -> None:
    ours = Pins((pin("job-1", "a"), pin("job-2", "b")))
    left = release(ours, "job-1")
    assert left == Pins(("job-2/b",), ("job-1/a",))
    assert merge(left, ours) == merge(ours, left) == left
    assert release(left, "job-2").live == ()
    assert merge(release(left, "job-2"), Pins((pin("job-2", "c"),))).live == ("job-2/c",)


def test_an_owner_needs_one_pin_and_many_owners_share_one() -> None:
    pins = Pins()
    for number in range(LIVE_MAX + 1):
        pins = merge(pins, Pins((pin("", f"{number}"),)))
    assert pins.live == ("/0",)
    for number in range(LIVE_MAX + 1):
        pins = merge(pins, Pins((pin(f"job-{number}", "x"),)))
    assert pins.live == (SHARED,)
    assert merge(pins, Pins((pin("late", "y"),))).live == (SHARED,)
    assert release(pins, "job-3").live == (SHARED,)
    pins = Pins()
    for number in range(GONE_MAX + 5):
        pins = release(merge(pins, Pins((pin("one", f"{number:03}"),))), "one")
    assert len(pins.gone) == GONE_MAX


def targets(
    home: str, nodes: str, alive: str, me: str = "a", durability: Durability = Durability.QUORUM
) -> Targets:
    return choose_targets(
        "blob", me, tuple(home), tuple(nodes), tuple(alive), lambda n: n, 3, durability
    )


def test_a_put_asks_its_homes_and_keeps_the_others_as_spares() -> None:
    chosen = targets("abc", "abcdef", "abcdef")
    assert chosen.now == ("a", "b", "c")
    assert sorted(chosen.spares) == ["d", "e", "f"]
    assert (chosen.copies, chosen.zones) == (2, 2)
    assert not chosen.satisfied(["a"], str)
    assert chosen.satisfied(["a", "c"], str)
    assert not chosen.satisfied(["a", "c"], lambda node: "one zone")


def test_living_nodes_stand_in_for_dead_homes_the_writer_first() -> None:
    chosen = targets("bcd", "abcdef", "aef")
    assert chosen.now[0] == "a"
    assert len(chosen.now) == 2
    assert chosen.spares[-3:] == ("b", "c", "d")
    alone = targets("a", "a", "a")
    assert (alone.now, alone.copies, alone.zones) == (("a",), 1, 1)


def test_durability_decides_how_many_copies_are_waited_for() -> None:
    local = targets("bcd", "abcd", "abcd", durability=Durability.LOCAL)
    assert (local.now, local.copies) == (("a", "b", "c", "d"), 1)
    everybody = targets("bcd", "abcd", "abc", durability=Durability.ALL)
    assert (everybody.now, everybody.copies) == (("b", "c", "d"), 3)


GOLDEN = [
    (
        Layout(2, (StorageNode("n", "z"),), ("n",), 3, 2, (Placement(1, (), 3),)),
        "86028184616e617a01627570 81616e 0302 81 8301 80 03",
    ),
    (
        Accept("r/x", Ballot(1, "n"), b"v", Ballot(2, "n"), True),
        "86 66616363657074 63722f78 8201616e 4176 8202616e f5",
    ),
    (RegisterValue(3, b"d", (Session("s", 1, (2,), (3,)),)), "83 03 4164 81 84 6173 01 8102 8103"),
    (
        Keep("b3-", Pins(("o/1",), ()), b"d"),
        "85 6362332d 82 81636f2f31 80 4164 fb0000000000000000 00",
    ),
    (
        BlobRow(1, Where.FILE, Role.REPLICA, Pins(("o/1",)), 2.5, 3, Condemned(4, 0.5)),
        (
            "88016466696c65677265706c6963618281636f2f3180 fb4004000000000000 03"
            " 8204fb3fe000000000000000"
        ),
    ),
]


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=lambda value: type(value).__name__)
def test_messages_keep_their_bytes(message: object, golden: str) -> None:
    assert encode(message).hex() == golden.replace(" ", "")
    assert decode(encode(message), type(message)) == message


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x01", b"\x81\x81", b"\x9f" * 3000])
def test_bytes_that_are_no_message_are_malformed(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(data, Layout)
