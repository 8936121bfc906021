"""Sealing: only genuine, fresh packets come through, and only they leave a trace."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_gossip import seal as seal_module
from peerdisco_gossip.keys import KeyRing, id_from_bytes, id_to_bytes
from peerdisco_gossip.limits import HEADER_BYTES, PACKET_BYTES_MAX, PAYLOAD_BYTES_MAX, TAG_BYTES
from peerdisco_gossip.seal import WINDOW_PACKETS, ReplayWindow, Seal

ALICE = id_from_bytes(b"a" * 20)
BOB = id_from_bytes(b"b" * 20)
OLD, NEW = b"o" * 32, b"n" * 32


def sealer(me: str = ALICE, *keys: bytes, salt: bytes = b"12345678") -> Seal:
    return Seal(KeyRing(keys or (OLD,)), me, salt)


def test_what_one_seals_another_opens_with_the_senders_name() -> None:
    assert sealer(BOB).open(sealer(ALICE).seal(b"hello")) == (ALICE, b"hello")


def test_the_longest_payload_with_its_channel_fills_a_packet_exactly() -> None:
    assert len(sealer().seal(bytes(PAYLOAD_BYTES_MAX + 1))) == PACKET_BYTES_MAX


def test_the_payload_is_not_readable_on_the_wire() -> None:
    assert b"attack at dawn" not in sealer().seal(b"attack at dawn")


def test_a_packet_under_another_key_is_forged_and_leaves_no_state() -> None:
    bob = sealer(BOB)
    for number in range(50):
        assert bob.open(sealer(ALICE, NEW, salt=b"%08d" % number).seal(b"x")) is None
    assert bob.stats["forged"] == 50
    assert len(bob._senders) == 0


@pytest.mark.parametrize("position", [0, 1, 2, 25, 33, HEADER_BYTES, -1])
def test_a_flipped_bit_anywhere_is_noticed(position: int) -> None:
    packet = bytearray(sealer().seal(b"hello"))
    packet[position] ^= 1
    assert sealer(BOB).open(bytes(packet)) is None


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused_and_never_raise(data: bytes) -> None:
    assert sealer().open(data) is None


def test_an_oversized_packet_is_malformed() -> None:
    bob = sealer(BOB)
    assert bob.open(bytes(PACKET_BYTES_MAX + 1)) is None
    assert bob.open(bytes(HEADER_BYTES + TAG_BYTES - 1)) is None
    assert bob.stats["malformed"] == 2


def test_a_replayed_packet_is_refused() -> None:
    bob, packet = sealer(BOB), sealer().seal(b"once")
    assert bob.open(packet) == (ALICE, b"once")
    assert bob.open(packet) is None
    assert bob.stats["replayed"] == 1


def test_packets_may_overtake_each_other_within_the_window() -> None:
    alice, bob = sealer(), sealer(BOB)
    packets = [alice.seal(b"%d" % number) for number in range(5)]
    assert [bob.open(packets[i]) for i in (3, 0, 4, 2, 1)] == [
        (ALICE, b"3"),
        (ALICE, b"0"),
        (ALICE, b"4"),
        (ALICE, b"2"),
        (ALICE, b"1"),
    ]


@given(st.lists(st.integers(0, 3 * WINDOW_PACKETS), max_size=200))
@settings(max_examples=100, deadline=None)
def test_the_window_accepts_each_counter_at_most_once_and_all_recent_ones(
    counters: list[int],
) -> None:
    window = ReplayWindow()
    seen: dict[int, None] = {}
    highest = -1
    for counter in counters:
        expected = counter not in seen and counter > highest - WINDOW_PACKETS
        assert window.accept(counter) == expected
        if expected:
            seen[counter] = None
            highest = max(highest, counter)


def test_a_restart_with_a_fresh_salt_is_heard_although_its_counter_starts_again() -> None:
    bob = sealer(BOB)
    assert bob.open(sealer(salt=b"boot---1").seal(b"one")) == (ALICE, b"one")
    assert bob.open(sealer(salt=b"boot---2").seal(b"two")) == (ALICE, b"two")


def test_rotation_is_heard_throughout() -> None:
    """Old; new installed second; new first; old dropped: each step understands its neighbours."""
    rings = [(OLD,), (OLD, NEW), (NEW, OLD), (NEW,)]
    for earlier, later in itertools.pairwise(rings):
        assert sealer(BOB, *later).open(sealer(ALICE, *earlier).seal(b"x")) == (ALICE, b"x")
        assert sealer(BOB, *earlier).open(sealer(ALICE, *later).seal(b"x")) == (ALICE, b"x")
    assert sealer(BOB, NEW).open(sealer(ALICE, OLD).seal(b"x")) is None


def test_replacing_keys_takes_effect_in_a_running_seal() -> None:
    ring = KeyRing([OLD])
    alice, bob = Seal(ring, ALICE, b"12345678"), sealer(BOB, OLD, NEW)
    assert bob.open(alice.seal(b"1")) == (ALICE, b"1")
    ring.replace([NEW])
    assert bob.open(alice.seal(b"2")) == (ALICE, b"2")
    assert sealer(BOB, OLD).open(alice.seal(b"3")) is None


def test_the_table_of_senders_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_module, "SENDERS_MAX", 10)
    bob = sealer(BOB)
    for number in range(30):
        assert bob.open(sealer(salt=b"%08d" % number).seal(b"x")) is not None
    assert len(bob._senders) == 10


def test_no_two_packets_share_key_and_nonce() -> None:
    alice, again = sealer(), sealer(salt=b"other---")
    heads = [s.seal(b"x")[:HEADER_BYTES] for s in (alice, again) for _ in range(100)]
    assert len(dict.fromkeys(heads)) == 200


@pytest.mark.parametrize("keys", [[], [b"short"], [OLD] * 9])
def test_a_bad_key_ring_is_refused(keys: list[bytes]) -> None:
    ring = KeyRing([OLD])
    with pytest.raises(ValueError, match="key"):
        ring.replace(keys)
    assert ring.first.secret == OLD


def test_a_key_does_not_print_itself() -> None:
    assert "ooo" not in repr(KeyRing([OLD]).first)


def test_ids_survive_the_way_through_bytes() -> None:
    assert id_from_bytes(id_to_bytes(BOB)) == BOB
    with pytest.raises(ValueError, match="not a node id"):
        id_to_bytes("aaaaaaaa")
