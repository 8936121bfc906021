"""The wire: golden bytes, round trips, and the refusal of everything else."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_gossip import messages as m
from peerdisco_gossip.limits import BODY_BYTES_MAX, COUNT_MAX, PAYLOAD_BYTES_MAX

A, B = "a" * 32, "b" * 32
LONG_HOST = "1111:2222:3333:4444:5555:6666:7777:8888"

ID_A, ID_B = "7820" + "61" * 32, "7820" + "62" * 32
HOST = "6831302e302e302e31"

GOLDEN: list[tuple[object, str]] = [
    (m.Alive(A, 1, 2, "10.0.0.1", 8990), f"8601{ID_A}0102{HOST}19231e"),
    (m.Suspect(A, 1, 2, B), f"8502{ID_A}0102{ID_B}"),
    (m.Dead(A, 1, 2, B, 1.5), f"8603{ID_A}0102{ID_B}fb3ff8000000000000"),
    (m.Left(A, 1, 2), f"8404{ID_A}0102"),
    (m.Metadata(A, 1, 2, "k", b"v"), f"8605{ID_A}0102616b4176"),
    (m.Packet(m.Ping(7, A, 1, 3), (b"u",)), f"82850107{ID_A}0103814175"),
    (m.Packet(m.Ack(7, A)), f"82830207{ID_A}80"),
    (
        m.Packet(m.PingRequest(7, A, "10.0.0.1", 80, 0.5)),
        f"82860307{ID_A}{HOST}1850fb3fe000000000000080",
    ),
    (m.Packet(m.Nack(7)), "8282040780"),
    (m.Packet(m.Gossip()), "82810580"),
    (
        m.Roster(A, (m.Row(B, 1, 2, 1, "10.0.0.1", 80, 0.0, (m.Entry("k", 3, b"v"),)),)),
        f"84{ID_A}8189{ID_B}010201{HOST}1850fb00000000000000008183616b034176fb000000000000000040f6",
    ),
    (m.Roster(A, (), b"s" * 8, "ab"), f"84{ID_A}80487373737373737373626162"),
]

ROSTER_1 = f"82{ID_A}8188{ID_B}010201{HOST}1850fb00000000000000008183616b034176"
"""As wire version 1 wrote it."""


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=lambda value: type(value).__name__)
def test_the_bytes_of_every_message_stay_what_they_are(message: object, golden: str) -> None:
    assert m.encode(message).hex() == golden


@pytest.mark.parametrize(
    "message", [message for message, _ in GOLDEN], ids=lambda v: type(v).__name__
)
def test_every_message_survives_the_way_through_bytes(message: object) -> None:
    data = m.encode(message)
    match message:
        case m.Packet():
            assert m.decode(data, m.Packet) == message
        case m.Roster():
            assert m.decode_roster(data) == message
        case _:
            assert m.decode_update(data) == message


def test_a_roster_of_wire_version_1_is_one_of_all_members() -> None:
    roster = m.decode_roster(bytes.fromhex(ROSTER_1))
    assert [row.absent_s for row in roster.rows] == [0.0]
    assert roster.sums == b""
    assert roster.buckets is None


@pytest.mark.parametrize("absent_s", [-1.0, float("nan"), "long"])
def test_an_absence_of_no_length_is_a_bad_message(absent_s: object) -> None:
    with pytest.raises(m.BadMessage):
        m.decode_roster(cbor2.dumps([A, [[B, 1, 2, 3, "10.0.0.1", 80, 0.0, [], absent_s]]]))


@pytest.mark.parametrize(
    "parts", [(b"s" * 257, None), (b"", "a" * 33), (b"", "A"), (b"", "a\n"), ("", None)], ids=repr
)
def test_a_question_out_of_bounds_is_a_bad_message(parts: tuple[object, object]) -> None:
    with pytest.raises(m.BadMessage):
        m.decode_roster(cbor2.dumps([A, [], *parts]))


@pytest.mark.parametrize(
    "body",
    [
        m.Ping(COUNT_MAX, A, COUNT_MAX, COUNT_MAX),
        m.Ack(COUNT_MAX, A),
        m.PingRequest(COUNT_MAX, A, LONG_HOST, 65535, 59.999),
        m.Nack(COUNT_MAX),
        m.Gossip(),
    ],
    ids=lambda body: type(body).__name__,
)
def test_no_body_exceeds_the_room_that_updates_leave_it(body: m.Body) -> None:
    # The array of the packet, and the header of up to a few hundred updates.
    assert len(m.encode(m.Packet(body))) + 4 <= BODY_BYTES_MAX


BAD_UPDATES: list[object] = [
    ["x", A, 1, 2],
    [1, A, 1, 2, "example.com", 80],
    [1, A, 1, 2, "fe80::1%eth0", 80],
    [1, A, 1, 2, "10.0.0.1", 0],
    [1, A, 1, 2, "10.0.0.1", 65536],
    [1, A, -1, 2, "10.0.0.1", 80],
    [1, A, 1, COUNT_MAX + 1, "10.0.0.1", 80],
    [1, A + "\n", 1, 2, "10.0.0.1", 80],
    [1, "A" * 32, 1, 2, "10.0.0.1", 80],
    [1, A[:31], 1, 2, "10.0.0.1", 80],
    [3, A, 1, 2, B, float("nan")],
    [3, A, 1, 2, B, float("inf")],
    [3, A, 1, 2, B, -1.0],
    [5, A, 1, 2, "", b"v"],
    [5, A, 1, 2, "k" * 33, b"v"],
    [5, A, 1, 2, "k", b"v" * 513],
    [5, A, 1, 2, "k", "text"],
    [4, A, 1],
    {},
    None,
]


@pytest.mark.parametrize("update", BAD_UPDATES, ids=repr)
def test_an_update_out_of_bounds_is_a_bad_message(update: object) -> None:
    with pytest.raises(m.BadMessage):
        m.decode_update(cbor2.dumps(update))


def test_one_bad_update_condemns_its_packet() -> None:
    good = m.encode(m.Left(A, 1, 2))
    assert m.decode_packet(m.encode(m.Packet(m.Gossip(), (good,))))[1] == (m.Left(A, 1, 2),)
    with pytest.raises(m.BadMessage):
        m.decode_packet(m.encode(m.Packet(m.Gossip(), (good, b"\xff"))))


def test_what_is_too_long_is_not_decoded_at_all() -> None:
    with pytest.raises(m.BadMessage, match="too long"):
        m.decode_packet(bytes(PAYLOAD_BYTES_MAX + 1))


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_bad_messages_and_nothing_else(data: bytes) -> None:
    for decode in (m.decode_packet, m.decode_update, m.decode_roster):
        try:
            decode(data)
        except m.BadMessage:
            continue


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_well_formed_cbor_of_any_other_shape_is_a_bad_message_and_nothing_else(
    value: object,
) -> None:
    for prefix in ([], [1], [2, 7], [5]):
        data = cbor2.dumps([*prefix, value])
        for decode in (m.decode_packet, m.decode_update, m.decode_roster):
            try:
                decode(data)
            except m.BadMessage:
                continue


@pytest.mark.parametrize(
    "data",
    [
        b"\xd8\x1d\x00",  # a shared reference to nothing
        b"\xc0\x61x",  # a date that is none
        b"\xc4\x82\x01\x01",  # a decimal fraction
        b"\xd8\x23\x61(",  # a broken regular expression
        b"\xd8\x1e\x82\x01\x00",  # a fraction with denominator zero
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # an array of 2**64 - 1 values
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",  # a string of 2**63 bytes
        b"\xa1\x80\x01",  # a map with a list as its key
        b"\x81" * 1200,  # very deep
        b"\xd8\x1c" * 600,  # very shared
        b"\xc2\x59\x04\x00" + b"\xff" * 1024,  # a very big number
        b"\xd8\x25\x41x",  # a UUID of one byte
        b"\xd8\x28\x82\x81\x00\x80",  # a strange array
    ],
    ids=lambda data: data[:8].hex(),
)
def test_hostile_cbor_is_a_bad_message_and_nothing_else(data: bytes) -> None:
    for decode in (m.decode_packet, m.decode_update, m.decode_roster):
        with pytest.raises(m.BadMessage):
            decode(data)
